"""The benchmark of recording, small: programs that do not do the same work are not compared."""

import numpy as np
import pytest

from keras_neuronlevel import neurons
from keras_neuronlevel.benchmarks import growth, peers, recording


def by_hand(numpy_net, turn=1, more=0.0):
    """A peer that computes in float64 NumPy; its signs times ``turn``, its loss and so much ``more``."""

    def build(model, batches):
        (x, y), *others = [[np.asarray(part) for part in batch] for batch in batches]
        assert not others
        net = numpy_net(model)
        loss = net.losses(net.values(x)["logits"], "logits", y).mean()
        layers = neurons.neuron_layers(model)
        signs = {name: turn * np.sign(net.derivatives(x, y, name)) for name in layers}
        return peers.Peer(lambda: loss + more, lambda: signs)

    return build


def test_programs_of_equal_work_are_timed(numpy_net):
    result = recording.run("mlp", 2, samples=20, others={"numpy": by_hand(numpy_net)})
    assert result["neurons"] == 1024 and result["differing"]["numpy"] < 1e-3
    assert 0 < result["differing"]["bfloat16"] < 0.1
    assert {way: len(rounds) for way, rounds in result["seconds"].items()} == dict.fromkeys(
        ("bare", "beside", "xla", "recorder", "bfloat16", "naive", "numpy"), 2
    )
    result["seconds"] |= {
        "bare": [1.0, 2.0],
        "beside": [1.0, 1.0],
        "recorder": [1.5, 2.2],
        "bfloat16": [0.5, 1.0],
        "numpy": [4.0, 4.0],
    }
    text = recording.table(result)
    assert "recorder  1.850 s, 1.30 x bare (1.10 to 1.50)" in text
    assert "numpy     4.000 s, 3.00 x bare (2.00 to 4.00), " in text and "of signs differ" in text
    page = recording.markdown([result], "a machine, 2 cores")
    assert (
        "Machine: a machine, 2 cores." in page
        and "| network | bare | beside | recorder | bfloat16 | naive | numpy |" in page
    )
    row = "1.500 s | 0.75 (0.50 to 1.00) | 1.30 (1.10 to 1.50) | 0.50 (0.50 to 0.50) |"
    assert f"| mlp, 20 samples × 1024 places | {row}" in page
    assert f"mlp: bfloat16 {result['differing']['bfloat16']:.2g}, numpy " in page


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"turn": -1}, "100.0% of all signs differ with numpy"),
        ({"more": 0.1}, "the mean loss is .* and with numpy"),
    ],
)
def test_other_work_is_not_compared(wrong, words, numpy_net):
    with pytest.raises(ValueError, match=words):
        recording.run("mlp", 1, samples=20, others={"numpy": by_hand(numpy_net, **wrong)})


@pytest.mark.parametrize("name", ["jax", "torch"])
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_peers_find_the_same_signs(name, network):
    pytest.importorskip(name, reason=f"{name} is not installed (requirements-peers.txt)")
    result = recording.run(network, 1, samples=6, others={name: peers.installed()[name]})
    assert result["differing"][name] < 1e-3


def test_the_growth_is_measured_on_what_grows():
    result = growth.run(1, samples=3, scale=0.02)
    ways = result["training"]["ways"]
    assert list(ways) == ["none", "1", "10", "100", "1, in a file"]
    assert ways["none"]["ratio"] == {"median": 1.0, "least": 1.0, "most": 1.0}
    sizes = {axis: found["sizes"] for axis, found in result["growth"].items()}
    assert sizes["samples"] == [10, 20, 50, 100] and sizes["neurons"] == [2, 4, 10, 20]
    assert sizes["positions"] == [1, 4, 9, 16] and sizes["recordings"] == [1, 1, 1, 2]
    slopes = {axis: found["bytes_slope"] for axis, found in result["growth"].items()}
    assert slopes == pytest.approx({"samples": 1, "neurons": 1, "positions": 1, "recordings": 0}, abs=1e-9)
    assert result["growth"]["samples"]["bytes"] == [4 * 512 * n for n in (10, 20, 50, 100)]
    text = growth.table(result)
    assert "every 1, in a file" in text and "recordings 1, 1, 1, 2: " in text
    page = growth.markdown(result, "a machine, 2 cores")
    assert "Machine: a machine, 2 cores." in page and "| 10 batches | " in page and "memory-mapped" in page
    assert "| none | 1.00 (1.00 to 1.00) |" in page
    assert all(f"| {axis} | {', '.join(map(str, sizes[axis]))} | " in page for axis in sizes)


def test_the_slope_is_an_exponent():
    sizes = np.array([3, 30, 300])
    assert growth.slope(sizes, 7 * sizes**1.5) == pytest.approx(1.5)
    assert growth.slope(sizes, [2, 2, 2]) == pytest.approx(0, abs=1e-12)
