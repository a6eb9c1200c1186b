"""What tests make by hand: a ``metrics.json`` with every number that the schema has, and IDX files."""

import copy
import struct

from keras_neuronlevel import papers
from keras_neuronlevel.results import of_value, schema

RANKS, CENTERS = [10.0 * i for i in range(11)], [5.0 + 10 * i for i in range(10)]


def spread(mean, half=0.01, neurons=512):
    interval = [mean - half, mean + half]
    return {"mean": mean, "std": 0.1, "quartiles": [mean] * 3, "interval": interval, "neurons": neurons}


_VALUES = {
    schema.NUMBER: 0.5,
    schema.REAL: 0.5,
    schema.SHARE: 0.5,
    schema.ACCURACY: 0.5,
    schema.RANK: 50.0,
    schema.COUNT: 1,
    schema.TEXT: "",
    schema.PAIR: None,
    schema.FLAG: True,
    schema.ANY: {},
}


def filled(form):
    """A value of a form, some number at every place."""
    if form in (schema.SPREAD, schema.SHARES):
        return spread(0.5)
    if isinstance(form, dict):
        return {key: filled(value) for key, value in form.items() if key != schema.MORE}
    if isinstance(form, list):
        return [filled(form[0])]
    return _VALUES[form]


def idx_bytes(array):
    """Bytes as MNIST was published."""
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def write_idx(folder, arrays):
    """The four files of a data set: ``arrays`` are x_train, y_train, x_test, y_test, as bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("train-images", "train-labels", "t10k-images", "t10k-labels")
    for array, name in zip(arrays, names, strict=True):
        array = array.squeeze(-1) if array.ndim == 4 else array
        (folder / f"{name}-idx{array.ndim}-ubyte").write_bytes(idx_bytes(array))


def put(value, path, new):
    """A copy with ``new`` at a path of keys."""
    changed = place = copy.deepcopy(value)
    for key in path[:-1]:
        place = place[key]
    assert path[-1] in place, path
    place[path[-1]] = new
    return changed


def numbers(kind, changes=()):
    """All numbers of a kind; ``changes`` are {name in the schema: value}."""
    value = filled(schema.form(kind))
    for name, new in dict(changes).items():
        value = put(value, name.split("/"), new)
    along = schema.ALONG.get(schema.kind_of(kind), ())
    length = next((len(value[name]) for name in along if name in dict(changes)), 1)
    for name in along:  # lists that are not given are as long as those that are
        value[name] = value[name] if name in dict(changes) else value[name][:1] * length
    schema.check(kind, value)
    return value


def layer(**changes):
    """All kinds of numbers of a layer, as the papers' claims want them.

    ``changes``: {kind: {name in the schema: value}}.
    """
    accuracy = [0.1, 0.6, 0.7, 0.8, 0.9, 0.97, 0.97, 0.96, 0.95, 0.9, 0.1]
    curve = {"baseline_accuracy": 0.98, "chance": 0.1, "n_test": 10_000}
    as_claimed = {
        "derivatives": {
            "neurons": 512,
            "constant_share": spread(0.6),
            "above_0.9_share": spread(0.8),
            "up_to_0.5_share": spread(0.1),
            "bimodality": spread(0.9),
            "histogram": [10] * 21,
            "low_share_near_half": spread(0.9),
            "often_nonzero/mean_abs": spread(0.7),
            "class_consistency/one_sided": spread(0.7),
            "class_consistency/peaks/low": spread(0.3),
            "class_consistency/peaks/high": spread(0.4),
        },
        "dynamics": {
            "recordings": [0, 99],
            "auc": [spread(0.55), spread(0.8)],
            "rank_correlation": [spread(0.4), spread(1.0, 0)],
            "change/auc": spread(0.25),
            "change/top_of_high": spread(20),
            "change/initial_top_of_high": spread(-20),
            "subtask/difference": spread(0.3),
            "subtask/separation_difference": spread(0.2),
            "subtask/all_negative/accuracy_difference": spread(0.1),
            "subtask/all_negative/separation_difference": spread(0.1),
        },
        "quantization": {
            **curve,
            "kind": "quantization",
            "ranks": RANKS,
            "accuracy": accuracy,
            "zero_rank/mean": 80.0,
            "zero_rank/std": 5.0,
            "zero_rank/neurons": 512,
        },
        "window": {
            **curve,
            "kind": "window",
            "readout": "retrain",
            "centers": CENTERS,
            "accuracy": [0.5 + 0.008 * abs(center - 50) for center in CENTERS],
        },
    }
    return {kind: numbers(kind, {**found, **changes.get(kind, {})}) for kind, found in as_claimed.items()}


def trained(recordings=2350, accuracy=0.98, **more):
    known = {} if recordings is None else {"recordings": recordings}
    return {
        "test_accuracy": accuracy,
        **known,
        "samples": 30_000,
        "seconds": {"training": 200.0, "recording": 7200.0, "total": 7400.0},
        "config": {"epochs": 50},
        **more,
    }


def metrics(experiment, networks, **more):
    """A whole ``metrics.json`` of {network: {"activation", "layers", ...}}, as ``results.read`` gives it."""
    row = papers.EXPERIMENTS.get(experiment)

    def known(network):
        found = row.network(network.get("activation", "relu")) if row else {}
        unknown = {"activation": None, "family": None, "owner": papers.OURS, "roles": {}}
        return {**unknown, "training": trained(), **found, **network}

    return of_value(
        {
            "schema": "keras_neuronlevel/metrics",
            "version": 2,
            "experiment": experiment,
            "preset": {"name": "paper", "size": papers.FULL, "decides": True},
            "scale": "paper: 50 epochs",
            "stand_in": None,
            "seed": 0,
            "complete": True,
            "provenance": {"commit": "abc123", "data": {"name": row.data[0] if row else "x", "digest": "d"}},
            "networks": {label: known(network) for label, network in networks.items()},
            **more,
        }
    )


def preset(name):
    size = {"quick": papers.QUICK, "reduced": papers.REDUCED, "quarter": papers.REDUCED}.get(
        name, papers.FULL
    )
    return {"name": name, "size": size, "decides": name != "quick"}


def mnist(activations=("relu", "sigmoid", "linear"), training=None, **more):
    """The MNIST experiment as the papers' claims want it."""

    def network(phi):
        found = {"activation": phi, "training": training or trained()}
        return {**found, "layers": {f"dense{i}-{phi}": layer() for i in (1, 2)}}

    return metrics("mnist_mlp", {f"mlp-{phi}": network(phi) for phi in activations}, **more)


def cifar(experiment="cifar10_cnn", name="cnn", recordings=1600, **more):
    """One of the CIFAR-10 experiments as the papers' claims want it."""
    mean_abs = {"relu": (0.2, 0.5, 0.7), "linear": (0.4, 0.8, 0.95)}
    first = {"relu": {"up_to_0.5_share": spread(0.8)}, "linear": {"bimodality": spread(0.6)}}

    def network(phi):
        layers = {}
        for base, mean in zip(papers.EXPERIMENTS[experiment].roles["shown"], mean_abs[phi], strict=True):
            signs = {"often_nonzero/mean_abs": spread(mean)}
            signs |= first[phi] if base == "stage0layer0" else {}
            layers[f"{base}-{phi}"] = layer(derivatives=signs)
        return {"activation": phi, "training": trained(recordings), "layers": layers}

    return metrics(experiment, {f"{name}-{phi}": network(phi) for phi in mean_abs}, **more)


def shallow_resnet50(**options):
    """``keras.applications.ResNet50`` with one block a stage: the same layers, a quarter of the time."""
    from keras.src.applications import resnet

    def stacks(x):
        for stage, filters in enumerate((64, 128, 256, 512)):
            x = resnet.stack_residual_blocks_v1(
                x, filters, 1, stride1=2 if stage else 1, name=f"conv{stage + 2}"
            )
        return x

    return resnet.ResNet(stacks, preact=False, use_bias=True, name="resnet50", **options)


def resnet50(**more):
    """ResNet50's first layer alone, which loses clearly."""
    first = {"quantization": layer(quantization={"accuracy": [0.1] * 11})["quantization"]}
    known = {"activation": "relu", "owner": papers.PAPERS, "roles": {"stem": ["conv1_relu"]}}
    return metrics("imagenet_resnet50", {"resnet50": {**known, "layers": {"conv1_relu": first}}}, **more)
