"""Many devices and processes: what they find together is what one finds alone."""

import itertools
import json
import runpy
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel import distribution, scores
from keras_neuronlevel.distribution import Workers
from keras_neuronlevel.recording.sharing import WholeSums, part_of, whole_table
from keras_neuronlevel.records import Records

ROOT = Path(__file__).resolve().parents[1]
LAUNCHER = ROOT / "experiments" / "workers.py"


class Told(Workers):
    """Three workers, of which this is one, and which gather what ``others`` says."""

    others: tuple = ()

    def json(self, value):
        return [value if rank == self.rank else other for rank, other in enumerate(self.others)]

    def arrays(self, values):
        return [values, values + 1, values + 2]


# Shares -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("total", [0, 1, 6, 7, 50])
def test_parts_and_turns_cover_everything_once(count, total):
    workers = [Workers(rank=rank, count=count) for rank in range(count)]
    parts = [list(range(total))[one.part(total)] for one in workers]
    assert list(itertools.chain(*parts)) == list(range(total))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert sorted(itertools.chain(*(one.turns(range(total)) for one in workers))) == list(range(total))


@pytest.mark.parametrize(
    ("samples", "batch_size", "parts", "size"),
    [
        (40, 10, [(0, 10), (10, 20), (20, 40)], 10),  # whole batches
        (25, 10, [(0, 10), (10, 20), (20, 25)], 10),
        (20, 10, [(0, 6), (6, 12), (12, 20)], 6),  # fewer batches than workers
        (3, 1000, [(0, 1), (1, 2), (2, 3)], 1),
    ],
)
def test_recorded_samples_are_shared_by_whole_batches(samples, batch_size, parts, size):
    found = [part_of(Workers(rank=rank, count=3), samples, batch_size) for rank in range(3)]
    assert [(part.start, part.stop) for part, _ in found] == parts
    assert {size for _, size in found} == {size}
    assert part_of(Workers(), samples, batch_size) == (slice(0, samples), batch_size)


def test_fewer_samples_than_workers_are_refused():
    with pytest.raises(ValueError, match="2 samples cannot be shared by 3 workers"):
        part_of(Workers(count=3), 2, 10)


def test_rows_of_all_samples_are_weighted_means_of_the_parts():
    workers = Told(rank=0, count=3)
    object.__setattr__(workers, "others", (None, 20, 10))
    table = [(0, 0, 0, 5.0, 0.5), (2, 0, 2, 1.0, 0.25)]
    whole = whole_table(workers, table, 1, samples=10)
    assert whole[0] == table[0]  # it was of all samples already
    assert whole[1][:3] == (2, 0, 2)
    np.testing.assert_allclose(whole[1][3:], [(10 * 1 + 20 * 2 + 10 * 3) / 40, 0.25 + 1], rtol=1e-15)
    sums = WholeSums(workers, {"a": (np.zeros((1, 2), np.int16), np.ones((1, 2), np.int16))})
    assert [values[:, 0].tolist() for values in sums["a"]] == [[0, 1, 2], [1, 2, 3]]


def test_tallies_of_parts_make_that_of_all():
    batches = [(4, (3, 0.5)), (4, (1, 2.25)), (2, (2, 0.125))]
    parts = [scores.total(scores.Tally, batches[:1]), scores.total(scores.Tally, batches[1:])]
    assert scores.merged(part.to_dict() for part in parts) == scores.total(scores.Tally, batches)


def test_alone_everything_is_given_back():
    alone = Workers()
    arrays = {"a": np.arange(3)}
    assert alone.chief and alone.described() == {}
    assert alone.gather(b"x") == [b"x"] and alone.told({"a": 1}) == {"a": 1} and alone.any(True, False)[0]
    assert alone.union(arrays) == alone.own(arrays) == alone.told_arrays(arrays) == arrays


def test_workers_of_other_data_are_told_apart():
    workers = Told(rank=0, count=3)
    object.__setattr__(workers, "others", (None, {"x": 1, "y": 2}, {"x": 1, "y": 3}))
    with pytest.raises(ValueError, match=r"worker 2 was given another training .* differs in y\. Give"):
        workers.check_same("training", {"x": 1, "y": 2})


# What several replicas would do otherwise than one ----------------------------------------------------------


def two_replicas():
    strategy = types.SimpleNamespace(num_replicas_in_sync=2)
    return Workers(strategy)


def scoped(optimizer, workers):
    """As if the optimizer had been made in the scope of the workers' strategy."""
    getattr(optimizer, "inner_optimizer", optimizer)._distribution_strategy = workers.strategy
    return optimizer


def checked(workers, optimizer, images=20, batch_size=8, jit_compile=False):
    model = types.SimpleNamespace(name="net")
    distribution.check(workers, model, optimizer, images, batch_size, jit_compile)


def test_what_replicas_do_alike_is_not_refused():
    workers = two_replicas()
    checked(workers, scoped(keras.optimizers.SGD(0.1), workers))
    checked(workers, scoped(keras.optimizers.SGD(0.1), workers), images=18)  # the last batch has 2
    clipping = keras.optimizers.SGD(0.1, clipnorm=1.0)
    checked(Workers(types.SimpleNamespace(num_replicas_in_sync=1)), clipping, images=1, jit_compile=True)


@pytest.mark.parametrize("how", [{"clipnorm": 1.0}, {"global_clipnorm": 1.0}, {"clipvalue": 0.5}])
def test_optimizers_that_clip_are_refused_with_several_replicas(how):
    workers = two_replicas()
    with pytest.raises(ValueError, match="^2 replicas cannot train 'net': the optimizer clips gradients, "):
        checked(workers, scoped(keras.optimizers.SGD(0.1, **how), workers))


def test_an_optimizer_from_outside_the_scope_is_refused():
    with pytest.raises(ValueError, match="made outside of the strategy's scope; make it in there$"):
        checked(two_replicas(), keras.optimizers.SGD(0.1))


def test_scaled_losses_are_refused_with_several_replicas():
    workers = two_replicas()
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    with pytest.raises(ValueError, match="the model computes in float16, .*; use float32$"):
        checked(workers, scoped(scaled, workers))


@pytest.mark.parametrize(("images", "batch_size", "least"), [(17, 8, 1), (20, 1, 1), (1, 8, 1)])
def test_a_batch_with_fewer_images_than_replicas_is_refused(images, batch_size, least):
    workers = two_replicas()
    with pytest.raises(ValueError, match=f"the smallest batch has {least} images; give a batch_size"):
        checked(workers, scoped(keras.optimizers.SGD(0.1), workers), images, batch_size)


def test_everything_that_is_wrong_is_said_at_once():
    clipping = keras.optimizers.SGD(0.1, clipvalue=1.0)
    with pytest.raises(ValueError, match=r"scope.*; the optimizer clips.*; jit_compile=True compiles no"):
        checked(two_replicas(), clipping, jit_compile=True)


# What is given wrongly --------------------------------------------------------------------------------------


def config(workers=("a:1", "b:2"), **task):
    return json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": 0, **task}})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "TF_CONFIG, which is not set; give it as {"),
        ("", "which is ''"),
        ("{", "which is '{'"),
        ("[]", r"which is '\[\]'"),
        ("{}", "which is '{}'"),
        (config(index=2), "the task be one of them"),
        (config(index=-1), "the task be one of them"),
        (config(type="chief"), "addresses of workers alone"),
        (config("a:1"), "addresses of workers alone"),
        (config(("a:1", 2)), "addresses of workers alone"),
        (config(("a:1", "a:1")), "an address of its own"),
    ],
)
def test_a_wrong_cluster_is_refused(given, words):
    with pytest.raises(ValueError, match=words):
        distribution.cluster(given)


def test_a_right_cluster_is_read():
    assert distribution.cluster(config()) == (2, 0)
    assert distribution.cluster(config(("a:1", "b:1", "c:1"), index=2)) == (3, 2)


@pytest.mark.skipif(len(tf.config.list_physical_devices("GPU")) > 1, reason="there are GPUs to mirror on")
def test_a_single_device_is_not_mirrored():
    with pytest.raises(ValueError, match="TensorFlow sees 1 .* give --strategy none"):
        distribution.begun("mirrored").__enter__()


def launcher():
    return runpy.run_path(str(LAUNCHER))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "1", "--", str(LAUNCHER)], "at least 2"),
        (["--", "no_such_script.py"], "there is no script no_such_script.py"),
        (["--", str(LAUNCHER), "--strategy", "none"], "contradicts"),
        (["--", str(LAUNCHER), "--strategy=none"], "contradicts"),
    ],
)
def test_the_launcher_refuses(arguments, words, capsys):
    with pytest.raises(SystemExit):
        launcher()["parse"](arguments)
    assert words in capsys.readouterr().err


def test_the_launcher_gives_every_worker_its_place():
    found = launcher()["environments"](3, one_gpu_each=True)
    assert [distribution.cluster(own["TF_CONFIG"]) for own in found] == [(3, 0), (3, 1), (3, 2)]
    assert len({json.dumps(json.loads(own["TF_CONFIG"])["cluster"]) for own in found}) == 1
    assert [own["CUDA_VISIBLE_DEVICES"] for own in found] == ["0", "1", "2"]


# Trainings --------------------------------------------------------------------------------------------------

TRAINING = """
import argparse, os, signal
import keras, numpy as np, tensorflow as tf
from conftest import tiny_dataset
from keras_neuronlevel import distribution, evaluation, training
from keras_neuronlevel.protocol import cli
from keras_neuronlevel.recording import ActivationGradientRecorder as Recorder, Snapshots

options = argparse.ArgumentParser()
options.add_argument("out")
options.add_argument("--strategy", default="none")
options.add_argument("--devices", type=int, default=1)
options.add_argument("--rate", type=float, default=0.1)
options.add_argument("--dropout", type=float, default=0.0)
options.add_argument("--batch-size", type=int, default=6)
options.add_argument("--kill", type=int)  # the worker that is killed
options.add_argument("--curves", action="store_true")
options = options.parse_args()

def build(dropout):
    keras.utils.set_random_seed(1)
    layers = [
        keras.Input((4, 4, 2)),
        keras.layers.Conv2D(4, 3, name="c"), keras.layers.BatchNormalization(name="n"),
        keras.layers.Activation("relu", name="r"), keras.layers.Flatten(name="f"),
        keras.layers.Dense(8, "tanh", name="a", kernel_regularizer="l2"),
    ]
    dropped = [keras.layers.Dropout(dropout, seed=3)] if dropout else []
    return keras.Sequential([*layers, *dropped, keras.layers.Dense(3, name="z")])

def main():
    processor = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * options.devices
    tf.config.set_logical_device_configuration(processor, devices)
    data = tiny_dataset((4, 4, 2))
    with distribution.begun(options.strategy) as workers:
        with workers.strategy.scope():
            model, optimizer = build(options.dropout), keras.optimizers.SGD(options.rate, momentum=0.9)
        recorder = Recorder(
            data.x_train[:40], data.y_train[:40], path=options.out + ".h5", every=2, batch_size=10,
            snapshots=Snapshots(5), overwrite=True,
        )

        def after(batch, logs):
            if workers.rank == options.kill and int(optimizer.iterations.numpy()) == 25:
                os.kill(os.getpid(), signal.SIGKILL)

        history = training.train(
            model, data, optimizer=optimizer, epochs=5, batch_size=options.batch_size, progress=False,
            callbacks=[recorder, keras.callbacks.LambdaCallback(on_train_batch_end=after)],
            checkpoint=options.out + ".checkpoint", checkpoint_every=0,
        ).history
        found = {f"weights/{v.path}": v.numpy() for v in model.variables}
        found |= {f"history/{name}": values for name, values in history.items()}
        if options.curves:
            found |= curves(data, workers)
        if workers.chief:
            np.savez(options.out + ".npz", **found)
        workers.told()

def curves(data, workers):
    plain = build(0.0)  # the same on all workers, whatever was trained
    shared = {"workers": workers} if workers.count > 1 else {}
    test = data.x_test, data.y_test
    quantized = evaluation.quantization_curve(
        plain, "r", *test, calibration=data.x_train, batch_size=4, **shared
    )
    readout = evaluation.Retrain(epochs=2, batch_size=16)
    read = evaluation.window_curve(plain, "a-tanh", data, readout=readout, centers=(5, 50, 95), **shared)
    return {
        "quantized": quantized.score, "loss": quantized.loss, "untouched": quantized.baseline_score,
        "read": read.repeats, "baseline": read.baseline,
    }

cli.run(main)
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    """A function that trains in processes of its own: (name, *options, workers=) -> what the chief found."""
    (tmp_path / "training.py").write_text(TRAINING)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{Path(__file__).parent}")
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")

    def run(name, *options, workers=1, fails=False):
        command = [str(tmp_path / "training.py"), str(tmp_path / name), *map(str, options)]
        if workers > 1:
            command = [str(LAUNCHER), "--workers", str(workers), "--", *command]
        ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300)
        assert bool(ended.returncode) == fails, ended.stderr
        if fails:
            return ended
        with np.load(tmp_path / f"{name}.npz") as found, Records(tmp_path / f"{name}.h5") as records:
            signs = {layer: (records.sign_sum(layer), records.nonzero(layer)) for layer in records.layers}
            seen = {layer: records.snapshots(layer) for layer in records.layers}
            return dict(found), signs, seen, records.recordings

    return run


def assert_same(one, other):
    keras.tree.map_structure(np.testing.assert_array_equal, one, other)


def mirrored(count):
    return "--strategy", "mirrored", "--devices", count


@pytest.mark.slow
def test_two_devices_train_as_one_up_to_rounding(start):
    alone, two = start("one"), start("two", *mirrored(2))
    assert alone[0].keys() == two[0].keys()
    for name in alone[0]:
        np.testing.assert_allclose(alone[0][name], two[0][name], rtol=1e-3, atol=1e-5, err_msg=name)
    assert_same(alone[1], two[1])  # no sign hangs on the rounding here
    assert len(alone[3]) == len(two[3]) == 25


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one_with_two_devices(start):
    one = start("one", *mirrored(2), "--dropout", 0.5, "--curves")
    two = start("two", "--dropout", 0.5, "--curves", workers=2)
    # Summed in another order; of test images that a batch holds in other company, where a processor's kernels
    # round a float32 otherwise.
    for name, close in (("history/val_loss", 1e-7), ("loss", 1e-12)):
        np.testing.assert_allclose(one[0].pop(name), two[0].pop(name), rtol=close)
    assert_same(one[:3], two[:3])
    assert_same(one[3][["step", "epoch", "batch"]], two[3][["step", "epoch", "batch"]])
    np.testing.assert_allclose(one[3]["loss"], two[3]["loss"], rtol=1e-12)
    np.testing.assert_allclose(one[3]["accuracy"], two[3]["accuracy"], rtol=1e-12)


@pytest.mark.slow
def test_three_processes_record_and_read_out_as_one(start):
    still = (
        "--batch-size",
        10,
        "--rate",
        1e-30,
    )  # the weights stay, so that rounding in the training is no matter
    alone, three = start("one", *still, "--curves"), start("three", *still, "--curves", workers=3)
    assert_same(alone[1], three[1])
    assert_same(alone[2], three[2])
    for name in ("quantized", "untouched", "read", "baseline"):
        assert_same(alone[0][name], three[0][name])


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_ends_the_others_and_all_go_on(start, killed):
    ended = start("killed", "--dropout", 0.5, "--kill", killed, workers=2, fails=True)
    assert f"worker {killed} of 2 was ended by SIGKILL, and the others ended, too" in ended.stderr
    assert (
        f"error: this is worker {1 - killed} of 2, and another one ended, so it cannot go on" in ended.stderr
    )
    assert "Traceback" not in ended.stderr
    resumed = start("killed", "--dropout", 0.5, workers=2)
    undisturbed = start("one", *mirrored(2), "--dropout", 0.5)
    for found in (resumed, undisturbed):
        found[0].pop("history/val_loss")  # summed in another order
    assert_same(undisturbed[:3], resumed[:3])
