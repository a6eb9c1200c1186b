"""ImageNet from folders and prepared sets: which pictures, whose labels, which pixels."""

import csv
import dataclasses
import io
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_neuronlevel import data
from keras_neuronlevel.data import imagenet
from keras_neuronlevel.data.imagenet import SIZE, inspect, picture, usable
from keras_neuronlevel.data.preprocessing import PREPROCESSING, preprocess

REAL = os.environ.get("NEURONLEVEL_IMAGENET_DIR")
WNIDS = imagenet.wnids()


def encoded(shape=(30, 40, 3), form="PNG", mode=None, seed=0, **options):
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels, mode).save(stream, form, **options)
    return stream.getvalue()


def put(root, name, content=None):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(form="JPEG", seed=len(name)) if content is None else content)
    return path


@pytest.fixture
def folder(tmp_path):
    """Pictures of all kinds in four classes, and what does not belong."""
    root = tmp_path / "pictures"
    last, early = WNIDS[999], WNIDS[3]
    put(root, f"{last}/a.JPEG")
    put(root, f"{last}/b.png", encoded((20, 20), "PNG"))
    put(root, f"{early}/c.jpg", encoded((25, 20, 4), "JPEG", "CMYK"))
    put(root, f"{early}/d.Jpeg")
    put(root, f"{WNIDS[500]}/e.png", encoded())
    (root / WNIDS[7]).mkdir()
    (root / early / "folder.jpg").mkdir()
    put(root, f"{early}/notes.txt", b"a stray file inside")
    put(root, f"{early}/.hidden.jpg", b"no picture")
    put(root, "stray.jpg")
    put(root, "n99999999/f.jpg")
    put(root, "README.md", b"beside")
    return root


def test_the_class_index_is_the_place_among_the_sorted_wnids():
    assert len(set(WNIDS)) == 1000 and list(WNIDS) == sorted(WNIDS)
    assert WNIDS[0] == "n01440764" and WNIDS[999] == "n15075141"  # tench, toilet tissue


def test_a_folder_gives_its_pictures_in_order(folder, caplog):
    with caplog.at_level(logging.WARNING):
        found = imagenet.load(folder)
    assert found.names.tolist() == [
        f"{WNIDS[3]}/c.jpg",
        f"{WNIDS[3]}/d.Jpeg",
        f"{WNIDS[500]}/e.png",
        f"{WNIDS[999]}/a.JPEG",
        f"{WNIDS[999]}/b.png",
    ]
    assert found.labels.tolist() == [3, 3, 500, 999, 999] and found.labels.dtype == np.int32
    assert len(found) == 5 and found.class_names == WNIDS
    assert found.source == "a folder of 5 pictures of 3 classes"
    for name in (WNIDS[7], "stray.jpg", "n99999999", f"{WNIDS[3]}/notes.txt", f"{WNIDS[3]}/folder.jpg"):
        assert name in caplog.text
    assert "README" not in caplog.text and ".hidden" not in caplog.text
    assert data.load("imagenet2012", folder).digest == found.digest


def test_the_digest_tells_folders_apart(folder):
    digest = imagenet.load(folder).digest
    assert imagenet.load(folder).digest == digest
    put(folder, f"{WNIDS[4]}/more.jpg")
    more = imagenet.load(folder).digest
    put(folder, f"{WNIDS[4]}/more.jpg", b"of another size")
    assert len({digest, more, imagenet.load(folder).digest}) == 3


def test_images_are_those_of_the_files(folder):
    found = imagenet.load(folder)
    images = found.images("imagenet-caffe", 16)
    assert images.shape == (5, 16, 16, 3)
    expected = [
        preprocess(picture((folder / name).read_bytes(), 16), "imagenet-caffe") for name in found.names
    ]
    np.testing.assert_array_equal(np.concatenate(list(images.batches(2))), expected)
    np.testing.assert_array_equal(images[3], expected[3])
    np.testing.assert_array_equal(next(images[3:].batches(9)), expected[3:])


@pytest.mark.parametrize(
    "places", [slice(1, 4), [0, 2, 4], np.array([1, 3]), np.array([False, True, True, False, False])]
)
def test_a_subset_keeps_names_labels_and_images_together(folder, places):
    found = imagenet.load(folder)
    part = found.subset(places)
    assert part.names.tolist() == found.names[places].tolist()
    assert part.labels.tolist() == found.labels[places].tolist()
    whole = next(found.images("unit", 8).batches(9))
    np.testing.assert_array_equal(next(part.images("unit", 8).batches(9)), whole[places])
    again = part.subset([1]).subset(slice(None))
    assert again.names.tolist() == [found.names[places][1]]
    np.testing.assert_array_equal(again.images("unit", 8)[0], whole[places][1])


@pytest.mark.parametrize("name", ["val", "validation"])
def test_a_folder_with_train_and_validation(tmp_path, name):
    put(tmp_path, f"train/{WNIDS[1]}/a.jpg")
    with pytest.raises(data.DataError, match="has no folder val or validation"):
        imagenet.load(tmp_path)
    put(tmp_path, f"{name}/{WNIDS[2]}/b.jpg")
    assert imagenet.load(tmp_path).labels.tolist() == [2]
    assert imagenet.load(tmp_path, "train[:10]").labels.tolist() == [1]


def test_folders_that_hold_nothing(tmp_path, monkeypatch):
    with pytest.raises(data.DataError, match="is not a folder. Pass a data folder"):
        imagenet.load(tmp_path / "none")
    with pytest.raises(data.DataError, match="is not a folder"):
        imagenet.load(put(tmp_path, "file.txt", b""))
    put(tmp_path, "ILSVRC2012_val_00000001.JPEG")
    with pytest.raises(data.DataError, match="no folder of pictures that is named by a wnid"):
        imagenet.load(tmp_path)
    (tmp_path / WNIDS[0]).mkdir()
    with pytest.raises(data.DataError, match="no folder of pictures that is named by a wnid"):
        imagenet.load(tmp_path)
    (tmp_path / "val").mkdir()
    with pytest.raises(data.DataError, match="has no folder train"):
        imagenet.load(tmp_path, "train")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(data.DataError, match=f"no imagenet2012 in {tmp_path}"):
        imagenet.load()
    for split in ("test", "val", "train[:3", ""):
        with pytest.raises(ValueError, match="give 'train', 'validation'"):
            imagenet.load(tmp_path, split)


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_labels_csv_must_agree_with_the_folders(folder, start, caplog):
    path = folder / "labels.csv"

    def write(*rows):
        path.write_text(start + "\n".join(rows) + "\n", encoding="utf-8")
        return imagenet.load(folder).labels.tolist()

    expected = [3, 3, 500, 999, 999]
    assert write("file,wnid,class_index", f"{WNIDS[3]}/c.jpg,x,3", f"{WNIDS[999]}/b.png,x,999") == expected
    assert write("file,class_index", "elsewhere.jpg,12") == expected
    assert "says nothing of 5 pictures" in caplog.text
    assert write("class_index,file") == expected
    with pytest.raises(data.DataError, match=rf"{WNIDS[999]}/a.JPEG \(998, by its folder 999\); mend"):
        write("file,class_index", f"{WNIDS[3]}/c.jpg,3", f"{WNIDS[999]}/a.JPEG,998")
    with pytest.raises(data.DataError, match=r"\(None, by its folder 3\)"):
        write("file,class_index", f"{WNIDS[3]}/c.jpg")
    for heading in ("file,label", "file;class_index", ""):
        with pytest.raises(data.DataError, match="file and class_index are needed"):
            write(heading, "a.jpg,3,too,many")


# Corrupt pictures and colours ------------------------------------------------------------------------


def spoil(folder):
    whole = encoded((60, 60, 3), "JPEG")
    put(folder, f"{WNIDS[3]}/cut.jpg", whole[: len(whole) // 2])
    put(folder, f"{WNIDS[500]}/garbage.jpg", b"\x00\x01garbage" * 50)
    put(folder, f"{WNIDS[500]}/nothing.jpg", b"")
    return [f"{WNIDS[3]}/cut.jpg", f"{WNIDS[500]}/garbage.jpg", f"{WNIDS[500]}/nothing.jpg"]


def test_inspection_names_corrupt_pictures_and_colours(folder):
    whole = inspect(imagenet.load(folder))
    assert whole.corrupt == {}
    assert whole.not_rgb == {f"{WNIDS[3]}/c.jpg": "CMYK", f"{WNIDS[999]}/b.png": "L"}
    names = spoil(folder)
    found = inspect(imagenet.load(folder), threads=2)
    assert list(found.corrupt) == names and found.not_rgb == whole.not_rgb
    for why in found.corrupt.values():
        assert why and "function_node" not in why and " at 0x" not in why


def test_corrupt_pictures_are_named_and_left_out_only_when_asked(folder, caplog):
    pictures = imagenet.load(folder)
    assert usable(pictures)[0] is pictures
    names = spoil(folder)
    pictures = imagenet.load(folder)
    with pytest.raises(data.DataError, match=r"^3 pictures cannot be decoded: .*--skip-corrupt$") as raised:
        usable(pictures)
    assert all(name in str(raised.value) for name in names)
    kept, found = usable(pictures, skip_corrupt=True)
    assert "2 pictures are not RGB" in caplog.text and names[0] in caplog.text
    assert kept.labels.tolist() == [3, 3, 500, 999, 999] and list(found.corrupt) == names
    assert not set(names) & set(kept.names)
    assert sum(map(len, kept.images("unit", 8).batches(2))) == 5
    corrupt = pictures.subset([name in names for name in pictures.names])
    with pytest.raises(data.DataError, match="none of the 3 pictures"):
        usable(corrupt, skip_corrupt=True)


def test_pictures_that_unpack_to_much_are_not_decoded(folder, monkeypatch):
    """All frames count: TensorFlow decodes every one before it gives the first."""
    monkeypatch.setattr(imagenet, "MOST_PIXELS", 1200)
    frames = [Image.new("L", (20, 20), shade) for shade in (0, 90, 180, 250)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    put(folder, f"{WNIDS[3]}/film.gif", stream.getvalue())
    put(folder, f"{WNIDS[3]}/wide.png", encoded((30, 41)))
    found = inspect(imagenet.load(folder))
    assert [name.split("/")[1] for name in found.corrupt] == ["film.gif", "wide.png"]
    assert found.corrupt[f"{WNIDS[3]}/film.gif"] == (
        "1600 pixels, over all frames, where at most 1200 are decoded"
    )


def test_files_that_cannot_be_read_are_told_in_one_line(folder, caplog):
    caplog.set_level("ERROR")  # warnings name a file whose name is no UTF-8: no worker could hand them on
    pictures = imagenet.load(folder)
    odd = os.fsdecode(b"\xff.jpg")
    put(folder, f"{WNIDS[3]}/{odd}")
    assert len(imagenet.load(folder)) == len(pictures)
    (folder / f"{WNIDS[3]}/c.jpg").unlink()
    with pytest.raises(data.DataError, match="a picture cannot be read: .*c.jpg; No such file or directory$"):
        inspect(pictures)
    for content in (b"file,class_index\n\xff,1\n", b"file,class_index\n" + b"x" * 200_000):
        (folder / "labels.csv").write_bytes(content)
        with pytest.raises(data.DataError, match="labels.csv is no table in UTF-8"):
            imagenet.load(folder)


def test_inspection_reads_a_few_pictures_at_a_time(folder, monkeypatch):
    """Nor may a pool take in all encoded pictures at once: 50,000 are 5 GB."""
    read, examined, most = [], [], []

    def examine(content):
        most.append(len(read) - len(examined))
        examined.append(content)
        return None, "RGB"

    def pictures(indices):
        def generate():
            for i in indices:
                read.append(i)
                yield b"picture"

        return tf.data.Dataset.from_generator(generate, output_signature=tf.TensorSpec([], tf.string))

    monkeypatch.setattr(imagenet, "_examine", examine)
    many = imagenet.load(folder).subset(np.zeros(2000, int))
    found = inspect(dataclasses.replace(many, read=pictures), threads=2)
    assert len(examined) == 2000 and found.corrupt == {}
    assert max(most) <= 100


@pytest.mark.parametrize("mode, form", [("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("L", "PNG")])
def test_other_colours_become_rgb(mode, form):
    channels = {"L": (), "CMYK": (4,), "RGBA": (4,)}[mode]
    flat = np.full((SIZE, SIZE, *channels), 200, np.uint8)
    stream = io.BytesIO()
    Image.fromarray(flat, mode).save(stream, form)
    done = picture(stream.getvalue()).numpy() * 255
    assert done.shape == (SIZE, SIZE, 3)
    if mode == "CMYK":
        expected = np.asarray(Image.open(io.BytesIO(stream.getvalue())).convert("RGB"))
        np.testing.assert_allclose(done, expected, atol=12)
    else:
        np.testing.assert_allclose(done, 200, atol=1)


# Pixels ----------------------------------------------------------------------------------------------


def weights(before, after):
    """(after, before): the triangle around each new pixel's centre, as wide as the scaling asks."""
    scale = before / after
    out = np.zeros((after, before))
    for i in range(after):
        centre = (i + 0.5) * scale
        for j in range(before):
            out[i, j] = max(0.0, 1 - abs(j + 0.5 - centre) / max(1.0, scale))
    return out / out.sum(axis=1, keepdims=True)


def cropped(pixels, size, short):
    """Short side scaled to ``short``, then the centre, by loops in float64."""
    height, width = pixels.shape[:2]
    new = [round(side * short / min(height, width)) for side in (height, width)]
    rows, columns = weights(height, new[0]), weights(width, new[1])
    top, left = (new[0] - size) // 2, (new[1] - size) // 2
    scaled = np.einsum("ih,hwc,jw->ijc", rows, pixels.astype(np.float64), columns, optimize=True)
    return scaled[top : top + size, left : left + size]


@pytest.mark.parametrize(
    "shape",
    [(300, 401), (401, 300), (256, 256), (223, 224), (224, 225), (17, 31), (3, 2), (1, 1), (512, 640)],
)
def test_decoding_equals_its_twin(shape):
    content = encoded((*shape, 3))
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    done = picture(content).numpy()
    assert done.shape == (SIZE, SIZE, 3) and done.dtype == np.float32
    np.testing.assert_allclose(done * 255, cropped(pixels, SIZE, 256), atol=2e-2)


def test_decoding_equals_pillow():
    content = encoded((350, 290, 3))
    with Image.open(io.BytesIO(content)) as opened:
        scaled = opened.resize((256, round(350 * 256 / 290)), Image.Resampling.BILINEAR)
    top, left = (scaled.height - 224) // 2, 16
    expected = np.asarray(scaled)[top : top + 224, left : left + 224]
    np.testing.assert_allclose(picture(content).numpy() * 255, expected, atol=1.01)


def test_a_picture_of_the_right_size_is_taken_as_it_is():
    content = encoded((SIZE, SIZE, 3))
    np.testing.assert_array_equal(
        picture(content).numpy(), np.asarray(Image.open(io.BytesIO(content)), np.float32) / np.float32(255)
    )
    small = encoded((64, 48, 3))
    pixels = np.asarray(Image.open(io.BytesIO(small)))
    np.testing.assert_allclose(picture(small, 32) * 255, cropped(pixels, 32, 37), atol=2e-2)


def test_preprocessing_comes_after_decoding(folder):
    found = imagenet.load(folder).subset([2])
    unit = found.images("unit", 8)[0]
    for how in PREPROCESSING:
        if how == "standardize":
            with pytest.raises(ValueError, match="standardize needs the channels' means"):
                found.images(how, 8)[0]
        else:
            np.testing.assert_allclose(found.images(how, 8)[0], preprocess(unit, how), rtol=1e-6, atol=1e-5)


# A set prepared by tensorflow_datasets ---------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A prepared imagenet2012: 30 pictures to validate with, 12 to train; (folder, {file name: label})."""
    return prepare(tmp_path_factory.mktemp("tfds"), WNIDS)


def prepare(root, class_names):
    import tensorflow_datasets as tfds

    told = {}

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        name = "imagenet2012"
        VERSION = tfds.core.Version("5.1.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=list(class_names)),
                "file_name": tfds.features.Text(),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _):
            return {"train": self._generate_examples(12, 0), "validation": self._generate_examples(30, 50)}

        def _generate_examples(self, count, start):
            for i in range(start, start + count):
                name, label = f"picture{i}.JPEG", 37 * i % len(class_names)
                told[name] = label
                pixels = np.full((20, 30, 3), i, np.uint8)
                yield str(i), {"image": pixels, "label": label, "file_name": name}

    config = tfds.download.DownloadConfig(try_download_gcs=False)
    Builder(data_dir=root).download_and_prepare(download_config=config)
    return root, told


def number(image):
    return round(float(image.mean()) * 255)


@pytest.mark.parametrize("split, count", [("validation", 30), ("train", 12), ("train[:5]", 5)])
def test_a_prepared_set(prepared, split, count):
    root, told = prepared
    found = imagenet.load(root, split)
    assert len(found) == count and len(set(found.names)) == count
    assert [told[name] for name in found.names] == found.labels.tolist()
    wanted = [int(name.removeprefix("picture").removesuffix(".JPEG")) for name in found.names]
    assert [number(image) for batch in found.images("unit", 8).batches(7) for image in batch] == wanted
    places = np.array([1, 2, 4])
    part = found.subset(places)
    assert [number(image) for image in next(part.images("unit", 8).batches(9))] == np.take(
        wanted, places
    ).tolist()
    images = found.images("unit", 8)[places][1:]
    assert [number(image) for image in next(images.batches(9))] == np.take(wanted, places[1:]).tolist()
    assert list(images[2:].batches(2)) == []
    assert inspect(part).corrupt == {}
    for wrong in ([2, 1], [1, 1]):
        with pytest.raises(ValueError, match="sort the places"):
            next(found.images("unit", 8)[wrong].batches(2))


def test_a_prepared_set_is_found_where_tensorflow_datasets_looks(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared[0]))
    assert data.load("imagenet2012").digest == imagenet.load(prepared[0]).digest
    assert imagenet.load(split="train").digest != imagenet.load(split="train[:11]").digest


def test_prepared_sets_that_cannot_be_used(tmp_path):
    (tmp_path / "two").mkdir()
    prepare(tmp_path / "two", ("cat", "dog"))
    with pytest.raises(data.DataError, match="not the 1000 sorted wnids"):
        imagenet.load(tmp_path / "two")
    root, _ = prepare(tmp_path, WNIDS)
    with pytest.raises(data.DataError, match=r"split validation\[:0%\] of .* cannot be read"):
        imagenet.load(root, "validation[:0%]")
    record = next((root / "imagenet2012").rglob("*validation*tfrecord*"))
    record.write_bytes(record.read_bytes()[:-100] + bytes(100))
    with pytest.raises(data.DataError, match="split validation of .* cannot be read"):
        imagenet.load(root)


# Real pictures ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="NEURONLEVEL_IMAGENET_DIR names no folder of ImageNet pictures")
def test_real_pictures():
    found = imagenet.load(REAL)
    table = Path(REAL) / "labels.csv"
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as file:
            told = {row["file"]: int(row["class_index"]) for row in csv.DictReader(file)}
        assert told == dict(zip(found.names.tolist(), found.labels.tolist(), strict=True))
    assert inspect(found.subset(slice(0, None, 50))).corrupt == {}
    assert found.images("unit")[0].shape == (SIZE, SIZE, 3)
