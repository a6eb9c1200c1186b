"""Films of a neuron: frames and duration read back from the file; whole files or none."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_neuronlevel import dynamics, plots, selection, videos
from keras_neuronlevel.records import Records, RecordsWriter

ROOT = Path(__file__).resolve().parent.parent


def has_ffmpeg():
    try:
        videos.ffmpeg()
    except ValueError:
        return False
    return True


needs_ffmpeg = pytest.mark.skipif(not has_ffmpeg(), reason="there is no ffmpeg: pip install imageio-ffmpeg")


def write_records(path, snapshots=5, provenance=None):
    """A file of one layer of 6 units, of which 2 and 5 have snapshots."""
    rng = np.random.default_rng(0)
    writer = RecordsWriter(path)
    chosen = selection.select({"dense-relu": (6,)}, 300, snapshots=selection.Snapshots(neurons=[2, 5]))
    writer.create(chosen, np.zeros(300, int), np.arange(300), "float16", provenance or {})
    s = rng.integers(-4, 5, (300, 6))
    for i in range(snapshots):
        p = rng.normal(size=(300, 2)) - 0.3 * i * np.sign(s[:, [2, 5]])
        writer.append_snapshot(i, {"dense-relu": p})
    table = [(10 * t, t, 0, 1.0, 0.1 + t / 100) for t in range(max(snapshots, 4))]
    writer.finish(table, {"dense-relu": (s, np.full((300, 6), 4))})
    return path


@pytest.fixture
def path(tmp_path):
    return write_records(tmp_path / "r.h5")


def durations(path):
    """Milliseconds of each frame of a GIF."""
    with Image.open(path) as image:
        found = []
        for i in range(image.n_frames):
            image.seek(i)
            found.append(image.info["duration"])
        return found


@pytest.mark.parametrize(
    ("snapshots", "expected"), [(1, [2600]), (2, [600, 2200]), (24, [600, *[200] * 22, 2200])]
)
def test_a_gif_has_a_frame_a_snapshot_and_holds_the_first_and_the_last(snapshots, expected, tmp_path):
    write_records(tmp_path / "r.h5", snapshots)
    out = tmp_path / "new" / "n.gif"
    videos.render(tmp_path / "r.h5", "dense-relu", 5, out, fps=5, width=320)
    assert durations(out) == expected
    with Image.open(out) as image:
        assert image.size == (320, 214) and image.info["loop"] == 0
    assert out.stat().st_size < 1_000_000
    assert [p.name for p in out.parent.iterdir()] == ["n.gif"]


def test_a_frame_shows_its_snapshot(path, tmp_path, monkeypatch):
    shown = []
    draw = plots.draw_frame

    def spy(figure, neuron, i):
        shown.append((neuron["moments"][i], i))
        draw(figure, neuron, i)

    monkeypatch.setattr(plots, "draw_frame", spy)
    videos.render(path, "dense-relu", 2, tmp_path / "n.gif", width=200)
    with Records(path) as records:
        (neuron,) = dynamics.read(records, "dense-relu", [2])
    expected = dynamics.panels(neuron, range(5), videos.BINS)
    assert shown == list(zip(expected["moments"], range(5), strict=True))


def test_a_gif_by_default_is_small_enough_at_its_full_size(path, tmp_path):
    videos.render(path, "dense-relu", 2, tmp_path / "n.GIF")
    with Image.open(tmp_path / "n.GIF") as image:
        assert image.size == (640, 426) and image.n_frames == 5
    assert (tmp_path / "n.GIF").stat().st_size < 1_000_000


def test_the_committed_films_hold_their_ends():
    for path in sorted((ROOT / "figures" / "mnist_mlp").glob("*.gif")):
        first, *middle, last = durations(path)
        assert (first, set(middle), last) == (750, {250}, 2250), path.name


@needs_ffmpeg
@pytest.mark.parametrize("width", [320, 427])
def test_an_mp4_has_its_frames_and_its_duration(width, path, tmp_path):
    out = tmp_path / "n.mp4"
    videos.render(path, "dense-relu", 5, out, fps=4, width=width)
    words = subprocess.run(
        [videos.ffmpeg(), "-i", out, "-map", "0:v", "-f", "null", "-"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert re.findall(r"frame=\s*(\d+)", words)[-1] == "15"  # five snapshots, 2.5 seconds more
    assert re.search(r"Duration: 00:00:03\.75", words)
    size = {320: "320x214", 427: "426x284"}[width]
    assert size in words and "yuv420p" in words and "h264" in words
    assert out.stat().st_size < 1_000_000
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.mp4", "r.h5"]


def without_ffmpeg(monkeypatch, path="nowhere"):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setenv("PATH", str(path))


def test_no_ffmpeg_at_all(path, tmp_path, monkeypatch):
    without_ffmpeg(monkeypatch)
    with pytest.raises(ValueError, match="an .mp4 needs the program ffmpeg.*`pip install imageio-ffmpeg`"):
        videos.render(path, "dense-relu", 5, tmp_path / "n.mp4")
    videos.render(path, "dense-relu", 5, tmp_path / "n.gif", width=160)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.gif", "r.h5"]


def program(tmp_path, lines):
    """A program called ffmpeg, in a folder of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ffmpeg").write_text(f"#!{sys.executable}\n{lines}\n")
    (folder / "ffmpeg").chmod(0o755)
    return folder


def test_ffmpeg_on_the_path(tmp_path, monkeypatch):
    folder = program(tmp_path, "")
    without_ffmpeg(monkeypatch, folder)
    assert videos.ffmpeg() == str(folder / "ffmpeg")


@pytest.mark.parametrize("reads", [True, False])
def test_an_ffmpeg_that_fails_leaves_nothing(reads, path, tmp_path, monkeypatch):
    read = "sys.stdin.buffer.read(); " if reads else ""
    lines = f"import sys; {read}open(sys.argv[-1], 'w').write('half'); sys.exit('Unknown encoder')"
    without_ffmpeg(monkeypatch, program(tmp_path, lines))
    (tmp_path / "n.mp4").write_text("what was there")
    with pytest.raises(OSError, match="ffmpeg could not write .*n.mp4: Unknown encoder"):
        videos.render(path, "dense-relu", 5, tmp_path / "n.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bin", "n.mp4", "r.h5"]
    assert (tmp_path / "n.mp4").read_text() == "what was there"


@pytest.mark.parametrize("at", [0, 3])
def test_an_interruption_leaves_nothing(at, path, tmp_path, monkeypatch):
    draw = plots.draw_frame

    def interrupted(figure, neuron, i):
        if i == at:
            raise KeyboardInterrupt
        draw(figure, neuron, i)

    monkeypatch.setattr(plots, "draw_frame", interrupted)
    with pytest.raises(KeyboardInterrupt):
        videos.render(path, "dense-relu", 5, tmp_path / "n.gif", width=160)
    assert [p.name for p in tmp_path.iterdir()] == ["r.h5"]


@pytest.fixture
def script(monkeypatch, caplog):
    """The script, called in this process: a function of its arguments that gives its last message."""
    main = runpy.run_path(str(ROOT / "experiments/videos.py"))["main"]

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["videos.py", *map(str, arguments)])
        with caplog.at_level("INFO"):
            main()
        return caplog.messages[-1]

    return call


def test_the_script(script, path, tmp_path):
    out = tmp_path / "n.gif"
    said = script("--run", path, "--layer", "dense-relu", "--output", out, "--width", 160, "--fps", 10)
    with Records(path) as records:
        (unit,) = dynamics.random_units(records, "dense-relu")
    assert said == f"neuron {unit} of dense-relu: {out}"
    assert durations(out) == [600, 100, 100, 100, 2100]


def test_the_script_shows_the_neuron_of_the_runs_own_seed(script, path, tmp_path):
    def unit(seed):
        with Records(path) as records:
            return dynamics.random_units(records, "dense-relu", seed=seed)[0]

    other = next(seed for seed in range(1, 50) if unit(seed) != unit(0))
    write_records(tmp_path / "own.h5", provenance={"config": {"seed": other}})
    options = ("--layer", "dense-relu", "--output", tmp_path / "n.gif", "--width", 160)
    for more, seed in (((), other), (("--seed", 0), 0)):
        said = script("--run", tmp_path / "own.h5", *options, *more)
        assert said.startswith(f"neuron {unit(seed)} of dense-relu")
