"""Many devices and processes: what they find together is what one finds alone."""

import argparse
import copy
import dataclasses
import itertools
import json
import os
import runpy
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import tiny_dataset
from PIL import Image
from test_imagenet_experiment import fill

from keras_neuronlevel import distribution, evaluation, neurons, scores
from keras_neuronlevel.data import DataError
from keras_neuronlevel.data import imagenet as pictures
from keras_neuronlevel.data.imagenet import wnids
from keras_neuronlevel.distribution import Workers, processors
from keras_neuronlevel.evaluation import calibration
from keras_neuronlevel.protocol import imagenet, sharing
from keras_neuronlevel.protocol.study import Study
from keras_neuronlevel.recording import memory
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


@dataclasses.dataclass(frozen=True)
class Threaded(Workers):
    """One of several threads of this process, which meet where they exchange something."""

    meeting: threading.Barrier | None = None
    given: list | None = None  # what each of them gives

    def gather(self, data):
        self.given[self.rank] = data
        self.meeting.wait()
        found = list(self.given)
        self.meeting.wait()
        return found


def together(count, work):
    """What ``work(workers)`` gives in each of so many threads; where one fails, the others wait a minute.

    Each has to have a model of its own: the threads would share what is compiled of one.
    """
    shared = {"count": count, "meeting": threading.Barrier(count, timeout=60), "given": [b""] * count}
    workers = [Threaded(rank=rank, **shared) for rank in range(count)]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, workers))


def refused(kind, work, *args, **options):
    """What the error says that a call has to raise."""
    with pytest.raises(kind) as raised:
        work(*args, **options)
    return str(raised.value)


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


def test_memory_is_that_of_a_workers_own_samples(make_mlp, data, tmp_path, monkeypatch, caplog):
    """Of 50 samples in batches of 20 the second of three workers records the second batch. Only its
    accumulators count, against the budget as well; what is gathered to be written counts whole. One process
    alone holds as many batches as it records at once."""
    from keras_neuronlevel import recording
    from keras_neuronlevel.recording import recorder as module

    model, asked = make_mlp(), []
    monkeypatch.setattr(module, "check_memory", lambda *given: asked.append(given[-3:]))
    third, alone, budget = Told(rank=1, count=3), Workers(), 20 * 4 * 11
    a_batch = 2 * 4 * 20 * 11  # pre-activations and activations
    cases = (
        (third, budget, 2, 20, a_batch),
        (third, budget - 1, 2, 20, a_batch),
        (alone, budget - 1, 1, 20, a_batch),
        (alone, budget - 1, 2, 40, 2 * a_batch),
        (alone, budget - 1, 3, 50, 2.5 * a_batch),
    )
    for number, (workers, budget, rows, held, passing) in enumerate(cases):
        monkeypatch.setattr(module.distribution, "of", lambda model, workers=workers: workers)
        monkeypatch.setattr(module, "at_once", lambda workers, size, rows=rows: rows)
        recorder = recording.ActivationGradientRecorder(
            data.x_train, data.y_train, path=tmp_path / f"{number}.h5", batch_size=20,
            keep=recording.Keep(memory_budget=budget),
        )  # fmt: skip
        recorder.set_model(model)
        recorder.set_params({"epochs": 1, "steps": 5})
        with caplog.at_level("INFO"):
            recorder.on_train_begin()
        assert asked.pop() == (held, False, passing)
    whole = recording.memory_estimate(recorder.selections, 50, held=20) / 2**20
    assert f"recording 50 samples, 1 recordings, {whole:.0f} MiB" in caplog.text
    assert caplog.text.count("beyond the memory budget") == 4


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


def test_arrays_of_several_workers_keep_their_types_and_shapes():
    """A worker that has foreseen more recordings has wider sums."""
    mine = [np.full((2, 3), 7, np.int16), np.full((4, 3), 8, np.int32)]

    def work(workers):
        nothing = np.zeros((1 + workers.rank, 0), np.int16)
        return WholeSums(workers, {"a": (mine[workers.rank], nothing)})["a"]

    for sums, nothing in together(2, work):
        assert sums.tolist() == [[7] * 3] * 2 + [[8] * 3] * 4 and sums.dtype == np.int32
        assert nothing.shape == (3, 0)


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


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("total", [0, 1, 5, 6])
def test_items_are_made_once_and_all_workers_have_them_in_order(count, total):
    made = []

    def make(item):
        made.append(item)
        return {"found": item / 3}

    found = together(count, lambda workers: workers.each(range(total), make))
    assert found == [[{"found": item / 3} for item in range(total)]] * count
    assert sorted(made) == list(range(total))


def test_workers_take_one_thing_up_one_by_one():
    events = []

    def make(rank):
        events.append(("begins", rank))
        time.sleep(0.05)  # in which the others could begin
        events.append(("ends", rank))
        return rank

    assert together(3, lambda workers: workers.one_by_one(lambda: make(workers.rank))) == [0, 1, 2]
    assert events == [(what, rank) for rank in range(3) for what in ("begins", "ends")]


def test_workers_need_the_same_options_but_for_places():
    def check(workers, **found):
        own = {"output_dir": Path(f"out{workers.rank}"), "model": Path(f"{workers.rank}.keras")}
        options = argparse.Namespace(**own, quiet=workers.rank > 0, seed=found.pop("seed", 0), layers=["a"])
        sharing.check_same(workers, options, **found)

    assert together(2, lambda workers: check(workers, network="abc")) == [None, None]
    for name in ("network", "seed"):
        told = together(2, lambda one, name=name: refused(ValueError, check, one, **{name: one.rank}))
        assert told[0] == told[1]
        assert told[0].startswith("worker 1 was given another command than worker 0")
        assert f"; it differs in {name}. Give all workers the same" in told[0]


def test_workers_of_other_data_are_told_apart():
    workers = Told(rank=0, count=3)
    object.__setattr__(workers, "others", (None, {"x": 1, "y": 2}, {"x": 1, "y": 3}))
    with pytest.raises(ValueError, match=r"worker 2 was given another training .* differs in y\. Give"):
        workers.check_same("training", {"x": 1, "y": 2})


# What several replicas would do otherwise than one ----------------------------------------------------------


def two_replicas():
    """A process with two devices, which are the same one here."""
    extended = types.SimpleNamespace(worker_devices=("CPU:0", "CPU:0"))
    return Workers(types.SimpleNamespace(num_replicas_in_sync=2, extended=extended))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_devices_take_turns_beside_each_other(count):
    seen, meeting = [], threading.Barrier(2, timeout=60)

    def make(item):
        if count > 1 and item < 2:
            meeting.wait()
        seen.append((item, threading.get_ident()))
        return 10 * item

    assert two_replicas().on_devices(range(count), make) == [10 * item for item in range(count)]
    assert sorted(item for item, _ in seen) == list(range(count))
    threads = [{thread for item, thread in seen if item % 2 == turn} for turn in (0, 1)]
    assert all(len(found) <= 1 for found in threads)
    turns = [item for item, _ in seen if item % 2], [item for item, _ in seen if not item % 2]
    assert all(made == sorted(made) for made in turns)


def test_a_device_makes_several_at_once():
    meeting = threading.Barrier(3, timeout=60)

    def make(item):
        if item < 3:
            meeting.wait()
        return item, threading.get_ident()

    found = Workers().on_devices(range(8), make, at_once=3)
    assert [item for item, _ in found] == list(range(8))
    threads = [thread for _, thread in found]
    assert len(set(threads)) == 3 and threads == (threads[:3] * 3)[:8]


def test_processors_follow_tensorflow(monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    assert processors() == 3
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "")
    assert 1 <= processors() <= 4096
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 2)
    assert processors() == 2


@pytest.mark.parametrize(
    ("gpus", "cores", "devices", "free", "rows"),
    [
        ([], 1, 1, None, 1),
        ([], 2, 1, None, 2),
        ([], 64, 1, 4000, 2),  # two passes of 1000 bytes are half of it
        ([], 64, 1, 3999, 1),
        ([], 3, 2, None, 1),
        ([], 4, 2, 8000, 2),
        ([], 4, 2, 7999, 1),
        (["GPU:0"], 64, 1, None, 1),
    ],
)
def test_two_batches_are_recorded_at_once_where_cores_and_memory_allow(
    gpus, cores, devices, free, rows, monkeypatch
):
    monkeypatch.setattr(memory.tf.config, "list_logical_devices", lambda kind: gpus)
    monkeypatch.setattr(memory, "processors", lambda: cores)
    monkeypatch.setattr(memory, "available_memory", lambda: free)
    assert memory.at_once(Workers() if devices == 1 else two_replicas(), 1000) == rows


def test_one_device_is_the_one_that_the_caller_is_on():
    me = threading.get_ident()
    assert Workers().on_devices([1, 2], lambda item: (item, threading.get_ident())) == [(1, me), (2, me)]


def test_batches_beside_each_other_stay_in_the_callers_scope():
    strategy = tf.distribute.OneDeviceStrategy("/CPU:0")
    meeting = threading.Barrier(2, timeout=60)

    def seen(item):
        meeting.wait()  # so that both threads take one
        return tf.distribute.get_strategy() if tf.distribute.has_strategy() else None

    with strategy.scope():
        assert Workers().on_devices([1, 2], seen, at_once=2) == [strategy] * 2
    assert Workers().on_devices([1, 2], seen, at_once=2) == [None] * 2


def test_an_error_on_one_device_comes_when_the_other_has_ended_its_item():
    ended = []

    def make(item):
        if item == 1:
            raise ValueError("no second item")
        time.sleep(0.05)
        ended.append(item)

    with pytest.raises(ValueError, match="no second item"):
        two_replicas().on_devices(range(5), make)
    assert ended == [0]


@pytest.mark.parametrize("images", [1, 7, 16])
def test_a_sweep_over_two_devices_counts_what_one_counts(make_convnet, images):
    rng, model = np.random.default_rng(0), make_convnet()
    x, y, layers = (
        rng.normal(size=(images, 4, 5, 2)),
        rng.integers(3, size=images),
        ["conv1-phi", "conv2-phi"],
    )
    options = {"calibration": x, "ranks": [0, 50, 100], "batch_size": 3}
    kept = {}
    alone = evaluation.quantization_curves(model, layers, x, y, on_result=kept.__setitem__, **options)
    two = evaluation.quantization_curves(model, layers, x, y, workers=two_replicas(), **options)
    for one, other in zip(alone, two, strict=True):
        assert_same(one.to_dict(), other.to_dict())
    half = {
        key: {**tally, "images": 0, "correct": 0, "loss": (0.0).hex()}
        for key, tally in kept["tallies"].items()
    }
    again = evaluation.quantization_curves(
        model, layers, x, y, workers=two_replicas(), done={"tallies": half}, **options
    )
    assert_same([one.to_dict() for one in alone], [one.to_dict() for one in again])


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
from keras_neuronlevel.recording import ActivationGradientRecorder as Recorder, Keep, Snapshots

options = argparse.ArgumentParser()
options.add_argument("out")
options.add_argument("--strategy", default="none")
options.add_argument("--devices", type=int, default=1)
options.add_argument("--rate", type=float, default=0.1)
options.add_argument("--dropout", type=float, default=0.0)
options.add_argument("--batch-size", type=int, default=6)
options.add_argument("--kill", type=int, nargs=2, default=(None, None))  # which worker, after which step
options.add_argument("--curves", action="store_true")
options.add_argument("--mapped", action="store_true")  # accumulators in files
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
            keep=Keep(positions=4, memory_budget=1 if options.mapped else 2**30),
        )

        def after(batch, logs):
            if (workers.rank, int(optimizer.iterations.numpy())) == tuple(options.kill):
                os.kill(os.getpid(), signal.SIGKILL)

        history = training.train(
            model, data, optimizer=optimizer, epochs=5, batch_size=options.batch_size, progress=False,
            callbacks=[recorder, keras.callbacks.LambdaCallback(on_train_batch_end=after)],
            checkpoint=options.out + ".checkpoint", checkpoint_every=0,
        ).history
        if not options.mapped:  # the accumulators of four batches
            places = {v.device for batch in recorder._taken.sums._batches for v in batch.values()}
            assert len(places) == max(1, options.devices), places
        found = {f"weights/{v.path}": v.numpy() for v in model.variables}
        found |= {f"history/{name}": values for name, values in history.items()}
        if options.curves:
            found |= curves(data, workers)
        if workers.chief:
            np.savez(options.out + ".npz", **found)
        workers.told()

def curves(data, workers):
    plain = build(0.0)  # the same on all workers, whatever was trained
    shared = {"workers": workers} if workers.replicas > 1 else {}
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


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A function that trains in processes of its own: (name, *options, workers=) -> what the chief found."""
    folder = tmp_path_factory.mktemp("trainings")
    (folder / "training.py").write_text(TRAINING)
    places = {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}", "TF_NUM_INTRAOP_THREADS": "1"}

    def run(name, *options, workers=1, fails=False):
        command = [str(folder / "training.py"), str(folder / name), *map(str, options)]
        if workers > 1:
            command = [str(LAUNCHER), "--workers", str(workers), "--", *command]
        ended = subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, **places},
        )
        assert bool(ended.returncode) == fails, ended.stderr
        if fails:
            return ended
        with np.load(folder / f"{name}.npz") as found, Records(folder / f"{name}.h5") as records:
            signs = {layer: (records.sign_sum(layer), records.nonzero(layer)) for layer in records.layers}
            seen = {layer: records.snapshots(layer) for layer in records.layers}
            return dict(found), signs, seen, records.recordings

    return run


@pytest.fixture(scope="module")
def undisturbed(start):
    """A process with two devices, to which two processes with one are held."""
    return start("undisturbed", *mirrored(2), "--dropout", 0.5, "--curves")


def assert_same(one, other):
    keras.tree.map_structure(np.testing.assert_array_equal, one, other)


def mirrored(count):
    return "--strategy", "mirrored", "--devices", count


@pytest.mark.slow
def test_two_devices_train_as_one_up_to_rounding(start):
    alone, two = start("alone"), start("mirrored", *mirrored(2))
    assert alone[0].keys() == two[0].keys()
    for name in alone[0]:
        np.testing.assert_allclose(alone[0][name], two[0][name], rtol=1e-3, atol=1e-5, err_msg=name)
    assert_same(alone[1], two[1])  # no sign hangs on the rounding here
    assert len(alone[3]) == len(two[3]) == 25


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one_with_two_devices(start, undisturbed):
    one, two = undisturbed, start("two", "--dropout", 0.5, "--curves", workers=2)
    # Summed in another order; of test images that a batch holds in other company, where a processor's kernels
    # round a float32 otherwise.
    rounded = {"history/val_loss": 1e-7, "loss": 1e-12}
    for name, close in rounded.items():
        np.testing.assert_allclose(one[0][name], two[0][name], rtol=close)
    assert one[0].keys() == two[0].keys()
    for name in one[0].keys() - rounded:
        assert_same(one[0][name], two[0][name])
    assert_same(one[1:3], two[1:3])
    assert_same(one[3][["step", "epoch", "batch"]], two[3][["step", "epoch", "batch"]])
    np.testing.assert_allclose(one[3]["loss"], two[3]["loss"], rtol=1e-12)
    np.testing.assert_allclose(one[3]["accuracy"], two[3]["accuracy"], rtol=1e-12)


@pytest.mark.slow
def test_three_processes_record_and_read_out_as_one(start):
    # The weights stay, so that rounding in the training is no matter.
    still = "--batch-size", 10, "--rate", 1e-30, "--curves"
    alone, three = start("still", *still), start("three", *still, "--mapped", workers=3)
    assert_same(alone[1], three[1])
    assert_same(alone[2], three[2])
    for name in ("quantized", "untouched", "read", "baseline"):
        assert_same(alone[0][name], three[0][name])


@pytest.mark.slow
def test_a_killed_worker_ends_the_others_and_all_go_on(start, undisturbed):
    name, options = "killed", ("--dropout", 0.5)
    for killed, step in ((0, 15), (1, 25)):
        ended = start(name, *options, "--kill", killed, step, workers=2, fails=True)
        assert f"worker {killed} of 2 was ended by SIGKILL, and the others ended, too" in ended.stderr
        assert (
            f"error: this is worker {1 - killed} of 2, and another one ended, so it cannot go on"
            in ended.stderr
        )
        assert "Traceback" not in ended.stderr
    resumed = start(name, *options, workers=2)
    for found in resumed[0].keys() - {"history/val_loss"}:  # summed in another order
        assert_same(undisturbed[0][found], resumed[0][found])
    assert_same(undisturbed[1:3], resumed[1:3])


# Evaluations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_memory", [2**30, 0])
def test_calibrations_that_are_shared_have_the_bits_of_one_process(make_convnet, monkeypatch, in_memory):
    models, rng = [make_convnet() for _ in range(3)], np.random.default_rng(0)
    x, y, layers = rng.normal(size=(17, 4, 5, 2)), rng.integers(3, size=17), ["conv1-phi", "conv2-phi"]
    options = {"calibration": x, "ranks": [0, 100 / 3, 100], "batch_size": 5, "in_memory": in_memory}
    alone = evaluation.quantization_curves(models[0], layers, x, y, **options)
    original, seen = calibration.calibrate, []

    def calibrate(truncation, *args, **options):
        seen.append(truncation.layer)
        return original(truncation, *args, **options)

    monkeypatch.setattr(calibration, "calibrate", calibrate)

    def shared(workers):
        return evaluation.quantization_curves(models[workers.rank], layers, x, y, workers=workers, **options)

    found = together(3, shared)
    assert sorted(seen) == layers
    for one, other in ((one, other) for curves in found for one, other in zip(alone, curves, strict=True)):
        for name in ("ranks", "thresholds", "low", "high", "zero_rank"):
            arrays = getattr(one, name), getattr(other, name)
            assert arrays[0].dtype == arrays[1].dtype
            np.testing.assert_array_equal(*arrays, err_msg=name)
        assert (other.thresholds[0] == -np.inf).all() and (other.thresholds[2] == np.inf).all()
        np.testing.assert_array_equal(one.score, other.score)
        assert one.exact_percentiles == other.exact_percentiles == (in_memory > 0)
        assert other.n_calibration == 17


@pytest.fixture
def folder(tmp_path):
    """Six pictures of one class: the fourth is garbage, the second and the last are grey."""
    place = tmp_path / wnids()[0]
    place.mkdir()
    for number in range(6):
        Image.new("L" if number in (1, 5) else "RGB", (8, 9)).save(place / f"{number}.png")
    (place / "3.png").write_bytes(b"garbage")
    return tmp_path


@pytest.mark.parametrize("count", [2, 8])
def test_workers_that_inspect_a_part_each_come_to_the_same_pictures(folder, monkeypatch, count):
    loaded = pictures.load(folder)
    alone, expected = pictures.usable(loaded, skip_corrupt=True)
    assert list(expected.corrupt) == [f"{wnids()[0]}/3.png"] and len(expected.not_rgb) == 2
    original, sizes = imagenet.inspect, []

    def inspect(part):
        sizes.append(len(part))
        return original(part)

    monkeypatch.setattr(imagenet, "inspect", inspect)
    found = together(count, lambda one: imagenet.decodable(loaded, one, skip_corrupt=True))
    assert sum(sizes) == 6 and max(sizes) == -(-6 // count)
    for kept, inspected in found:
        assert inspected == expected and list(inspected.not_rgb) == list(expected.not_rgb)
        assert kept.names.tolist() == alone.names.tolist()
    told = together(count, lambda one: refused(DataError, imagenet.decodable, loaded, one))
    assert set(told) == {refused(DataError, pictures.usable, loaded)}


def kept(folder):
    """What files of finished curves hold, but for the seconds that it took."""
    return {path.name: without_seconds(json.loads(path.read_text())) for path in folder.glob("*.json")}


def without_seconds(value):
    if isinstance(value, dict):
        return {key: without_seconds(inner) for key, inner in value.items() if key != "seconds"}
    return [without_seconds(inner) for inner in value] if isinstance(value, list) else value


def test_every_worker_probes_layers_of_its_own(tmp_path, data, make_mlp, monkeypatch):
    models = [make_mlp(hidden=(6, 5, 4, 3)) for _ in range(2)]
    layers = neurons.choose_layers(models[0])
    original, seen = evaluation.window_curve, []

    def window_curve(model, layer, *args, **options):
        seen.append((layer, options["workers"]))
        return original(model, layer, *args, **options)

    def probe(name, layers, workers):
        path, model = tmp_path / name / "net", models[workers.rank]
        study = Study("net", model, layers, None, path, {}, 0, workers=workers)
        study.binarize_windows(layers, data, {}, evaluation.Probe(), centers=[25, 75])

    probe("one", layers, Workers())
    probe("two", layers[1:2], Workers())
    monkeypatch.setattr(evaluation, "window_curve", window_curve)
    assert together(2, lambda workers: probe("two", layers, workers)) == [None, None]
    assert len(layers) == 4
    assert sorted(seen) == [(layer, None) for layer in sorted({*layers} - {layers[1]})]
    expected, found = kept(tmp_path / "one"), kept(tmp_path / "two")
    assert expected.keys() == found.keys()
    for name in expected:
        assert found[name]["result"] == expected[name]["result"]
        assert found[name]["config"] == expected[name]["config"]


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """A function that evaluates in processes of its own: (script, *options, workers=, name=) -> what it
    found of the network "net", and the process that ended."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{Path(__file__).parent}")
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "1")

    def run(script, *options, workers=1, name="out"):
        out = tmp_path / f"{name}{workers}"
        command = [*map(str, (script, *options)), "--output-dir", str(out)]
        if workers > 1:
            command = [str(LAUNCHER), "--workers", str(workers), "--", *command]
        ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
        (written,) = out.glob("*metrics.json")
        found = json.loads(written.read_text())
        assert found["complete"]
        return without_seconds(found["networks"]["net"]), ended

    return run


def assert_same_numbers(one, other):
    """The same, but for the losses of a sweep: other batches are rounded otherwise, and their sums, too."""
    one, other = copy.deepcopy((one, other))
    assert one["layers"].keys() == other["layers"].keys()
    for layer in one["layers"]:
        curves = [network["layers"][layer]["quantization"] for network in (one, other)]
        for name in ("loss", "baseline_loss"):
            np.testing.assert_allclose(*(curve.pop(name) for curve in curves), rtol=1e-6)
    for network in (one, other):
        network.pop("measured")  # when that was
    assert one == other


TWO_DEVICES = f"""
import runpy
import tensorflow as tf

processor = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
runpy.run_path({str(ROOT / "experiments" / "evaluate_model.py")!r}, run_name="__main__")
"""


@pytest.mark.slow
def test_several_evaluate_a_saved_model_as_one(evaluate, tmp_path, make_mlp):
    data = tiny_dataset()
    parts = {name: getattr(data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "mine.npz", **parts)
    model = make_mlp()
    model.save(tmp_path / "net.keras")
    script, layer = ROOT / "experiments" / "evaluate_model.py", neurons.choose_layers(model)[-1]
    options = (script, tmp_path / "net.keras", "--data", tmp_path / "mine.npz", "--epochs", 2)
    options += ("--layers", layer)
    (one, alone), (two, shared) = evaluate(*options), evaluate(*options, workers=2)
    assert {name: set(kinds) for name, kinds in two["layers"].items()} == {layer: {"quantization", "window"}}
    assert_same_numbers(one, two)
    assert alone.stdout == shared.stdout  # one of two says the accuracy and the table
    (tmp_path / "two.py").write_text(TWO_DEVICES)
    devices, _ = evaluate(tmp_path / "two.py", *options[1:], "--strategy", "mirrored", name="devices")
    assert_same_numbers(one, devices)


TINY_IMAGENET = f"""
import runpy
from keras_neuronlevel.protocol import figures, imagenet
from test_imagenet_experiment import TINY

imagenet.PRESETS["quick"] = TINY
figures.evaluation_figures = lambda *arguments, **options: None  # drawing takes longest
runpy.run_path({str(ROOT / "experiments" / "imagenet_resnet50.py")!r}, run_name="__main__")
"""


@pytest.mark.slow
def test_two_processes_evaluate_on_pictures_as_one(evaluate, tmp_path):
    (tmp_path / "tiny.py").write_text(TINY_IMAGENET)
    fill(tmp_path)
    corrupt = f"{wnids()[750]}/3.png"  # the last of those that test: the second worker finds it
    (tmp_path / "data" / "val" / corrupt).write_bytes(b"garbage")
    options = ("--model", tmp_path / "net.keras", "--preprocessing", "minus-one-one", "--preset", "quick")
    options += ("--data-dir", tmp_path / "data", "--grid", 1, 2, "--skip-corrupt", "--batch-size", 4)
    (one, _), (two, _) = (evaluate(tmp_path / "tiny.py", *options, workers=count) for count in (1, 2))
    assert {kind for layer in two["layers"].values() for kind in layer} == {
        "quantization", "window", "window-grid2"
    }  # fmt: skip
    assert list(two["pictures"]["corrupt"]) == [corrupt]
    assert_same_numbers(one, two)
