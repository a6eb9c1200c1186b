"""Files are written whole or not at all."""

import errno
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_neuronlevel import files


def test_replacing_renames_at_the_end(tmp_path):
    path = tmp_path / "new" / "a.json"
    with files.replacing(path) as temporary:
        temporary.write_text("text")
        assert not path.exists()
        assert temporary.parent == path.parent and temporary.suffix == ".json"
    assert path.read_text() == "text"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file(error, tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(error), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_json_of_numpy_values(tmp_path):
    value = {
        "int": np.int64(3),
        "float": np.float32(0.5),
        "flag": np.True_,
        "array": np.array([[1, 2]]),
        "tuple": (1.5, None, "φ"),
        "nan": [float("nan"), np.inf],
        7: {"x": True},
    }
    files.write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "int": 3,
        "float": 0.5,
        "flag": True,
        "array": [[1, 2]],
        "tuple": [1.5, None, "φ"],
        "nan": [None, None],
        "7": {"x": True},
    }


@pytest.mark.parametrize("value", [1e-7, 1.23456e-9, 123456.789, -2.5e-8])
def test_numbers_keep_their_first_digits(value, tmp_path):
    files.write_json(tmp_path / "a.json", {"x": value})
    assert json.loads((tmp_path / "a.json").read_text())["x"] == pytest.approx(value, rel=1e-4)


def test_what_is_no_json_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        files.write_json(tmp_path / "a.json", {"x": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read (it is empty)"),
        (b" \n", "cannot be read (it is empty)"),
        (b'{"a": 1', "cannot be read (Expecting ',' delimiter: line 1 column 8"),
        (b'{"a": "\xff"}', "cannot be read ('utf-8' codec can't decode byte 0xff"),
        (b"[1, 2]", "holds list where an object belongs"),
        (b"3", "holds int where an object belongs"),
        (b'{"a": NaN}', "cannot be read (it holds the number NaN, which no run gives)"),
        (b'{"a": -Infinity}', "cannot be read (it holds the number -Infinity"),
        (b'{"a": 1e999}', "cannot be read (it holds the number 1e999"),
        (b'{"a": -1e101}', "cannot be read (it holds the number -1e101"),
        (b'{"a": 1' + b"0" * 400 + b"}", "cannot be read (it holds the number 10000000000000000000, which"),
        (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}", "cannot be read (it is nested deeper than 64 levels)"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "cannot be read (it is nested deeper than 64 levels)"),
    ],
)
def test_json_that_is_not_read(content, words, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    for name, called in ((None, path), ("mine", "mine")):
        with pytest.raises(ValueError, match=re.escape(f"{called} {words}")):
            files.read_json(path, name)


def test_json_that_is_no_ordinary_file(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "folder.json").mkdir()
    for name, words in (
        ("pipe", "it is no ordinary file"),
        ("folder", "it is no ordinary file"),
        ("none", "No such file or directory"),
    ):
        with pytest.raises(ValueError, match=rf"{name}.json cannot be read \({words}\)"):
            files.read_json(tmp_path / f"{name}.json")
    (tmp_path / "large.json").write_text('{"a": 12345}')
    monkeypatch.setattr(files, "LARGEST", 11)
    with pytest.raises(ValueError, match="it has 12 bytes, more than 11"):
        files.read_json(tmp_path / "large.json")


def test_json_that_is_read(tmp_path):
    value = {"a": [1, -2.5, 1e100, "φ", None, True, 10**100, 1e-300], "deep": None}
    for _ in range(files.DEEPEST - 2):
        value["deep"] = [value["deep"]]
    (tmp_path / "a.json").write_text(json.dumps(value), encoding="utf-8")
    found = files.read_json(tmp_path / "a.json")
    assert found == value and [type(v) for v in found["a"]] == [type(v) for v in value["a"]]


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    def figure():
        made = Figure(figsize=(2, 2))
        made.subplots().plot([1, 3, 2])
        return made

    files.save_figure(tmp_path / "a.png", figure())
    files.save_figure(tmp_path / "b.png", figure())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_leftovers_of_processes_that_are_no_more_are_swept(tmp_path, monkeypatch):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    def left(process, name="a.txt", host="here.lan"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: process)
            patch.setattr(files.platform, "node", lambda: host)
            path = files.partial_path(tmp_path / name)
        path.write_text("half")
        return path

    monkeypatch.setattr(files.platform, "node", lambda: "here.lan")
    gone = [left(ended.pid), left(ended.pid)]
    assert len(set(gone)) == 2
    kept = [
        left(os.getppid()),
        left(ended.pid, "b.txt"),
        left(ended.pid, "a.b.txt"),
        left(ended.pid, host="there"),
    ]
    assert sorted(files.partials(tmp_path / "a.txt")) == sorted([*gone, kept[0], kept[3]])
    files.write_text(tmp_path / "a.txt", "whole")
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "a.txt"])


def test_names_with_brackets_are_swept_too(tmp_path):
    leftover = files.partial_path(tmp_path / "a[1].txt")
    leftover.write_text("half")
    assert files.partials(tmp_path / "a[1].txt") == [leftover]
    assert files.partials(tmp_path / "none" / "a.txt") == []


def test_a_full_disk_is_one_sentence_that_names_the_file(tmp_path):
    files.write_text(tmp_path / "a.txt", "old")
    with pytest.raises(files.NoRoomError, match=r"^there is no room to write .*a\.txt; make room"):  # noqa: SIM117
        with files.replacing(tmp_path / "a.txt"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert (tmp_path / "a.txt").read_text() == "old"
    with pytest.raises(PermissionError), files.replacing(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, "not that")


LOCKING = """
import sys
from keras_neuronlevel import files
with files.locked(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_one_processs_and_free_again_when_that_is_killed(tmp_path):
    folder = tmp_path / "new"
    command = [sys.executable, "-c", LOCKING, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"locked\n"
        with (
            pytest.raises(files.InUseError, match=f"process {first.pid} on .*, since .* is at work in .*new"),
            files.locked(folder),
        ):
            pass
        first.kill()
        first.wait()
        with files.locked(folder):
            owner = json.loads((folder / ".lock-owner.json").read_text())
            assert owner["process"] == os.getpid()
            with pytest.raises(files.InUseError, match=f"process {os.getpid()}"), files.locked(folder):
                pass
    assert list(folder.iterdir()) == []
