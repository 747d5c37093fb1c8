"""Pictures in folders: layouts, sizes, channels, and every way in which they can be wrong."""

import numpy as np
import pytest
from PIL import Image

from initopt_jax.data import SplitSpec, load
from initopt_jax.errors import ConfigError

SPEC = SplitSpec(val=0.2, test=0.2, seed=3)


def save(path, value=0, size=(4, 5), mode="L"):
    """A picture of one value, height and width as `size`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size[1], size[0]), value).save(path)


def fill(folder, *, classes=("cat", "dog"), count=5, start=0, **options):
    """Pictures whose value tells which they are: 10 per class and one per picture."""
    for label, name in enumerate(classes):
        for number in range(count):
            value = start + 10 * label + number
            if options.get("mode", "L") != "L":
                value = (value,) * len(options["mode"])
            save(folder / name / f"{number}.png", value, **options)


def read(folder, **options):
    spec = {"name": f"folder:{folder}", "normalize": False} | options
    return load(spec, kind="classification", split=SPEC)


def values(part):
    """The values of unnormalized pictures of one value."""
    return np.rint(part.inputs.reshape(len(part.inputs), -1)[:, 0] * 255).astype(int)


def test_class_folders_are_split_by_the_seed_and_labelled_by_name(tmp_path):
    fill(tmp_path)
    (tmp_path / "LICENSE.txt").write_text("yours")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / ".hidden").write_text("")
    (tmp_path / "cat" / "Thumbs.db").write_text("")
    data = read(tmp_path)
    parts = (data.train, data.val, data.test)
    assert [len(part.inputs) for part in parts] == [6, 2, 2]
    assert data.train.inputs.shape == (6, 4, 5, 1)
    found = np.concatenate([values(part) for part in parts])
    labels = np.concatenate([part.targets for part in parts])
    order = np.random.default_rng(3).permutation(10)
    np.testing.assert_array_equal(found, np.array([*range(5), *range(10, 15)])[order])
    np.testing.assert_array_equal(labels, found // 10)
    assert data.fingerprint == read(tmp_path).fingerprint


def test_split_folders_are_kept_and_what_is_missing_is_cut_from_train(tmp_path):
    fill(tmp_path / "Training", count=10)
    fill(tmp_path / "test", count=2, start=100)
    data = read(tmp_path)
    assert sorted(values(data.test)) == [100, 101, 110, 111]
    assert (len(data.train.inputs), len(data.val.inputs)) == (16, 4)
    fill(tmp_path / "valid", count=1, start=200)
    data = read(tmp_path)
    assert sorted(values(data.val)) == [200, 210]
    assert sorted(values(data.train)) == [*range(10), *range(10, 20)]
    few = read(tmp_path, limit=7)
    np.testing.assert_array_equal(few.train.inputs, data.train.inputs[:7])
    assert set(few.train.targets) == {0, 1}  # not the first class alone


def test_pictures_are_resized_and_converted_on_request(tmp_path):
    fill(tmp_path)
    save(tmp_path / "cat" / "wide.jpg", 50, size=(4, 10))
    save(tmp_path / "dog" / "colour.bmp", (60, 60, 60), size=(8, 8), mode="RGB")
    data = read(tmp_path, size=[3, 6], channels=3)
    assert data.train.inputs.shape[1:] == (3, 6, 3)
    everything = np.concatenate([values(p) for p in (data.train, data.val, data.test)])
    # constant pictures stay so under any averaging; JPEG may move a value by one
    assert set(everything) - {49, 50, 51} == {*range(5), *range(10, 15), 60}
    assert read(tmp_path, size=2, channels=1).val.inputs.shape[1:] == (2, 2, 1)


def test_shrinking_averages_the_pixels(tmp_path):
    fill(tmp_path)
    stripes = np.zeros((32, 32), np.uint8)
    stripes[:, ::2] = 200
    for number in range(5):
        for name in ("cat", "dog"):
            Image.fromarray(stripes).save(tmp_path / name / f"{number}.png")
    small = read(tmp_path, size=8).train.inputs * 255
    assert np.abs(small - 100).max() < 15  # nearest neighbours would give 0 or 200


def test_sixteen_bits_and_palettes_keep_their_scale(tmp_path):
    fill(tmp_path)
    deep = np.full((4, 5), 200 * 257, np.uint16)
    Image.fromarray(deep).save(tmp_path / "cat" / "deep.png")
    data = read(tmp_path)
    assert 200 in np.concatenate([values(p) for p in (data.train, data.val, data.test)])
    palette = Image.new("RGB", (5, 4), (30, 60, 90)).quantize()
    for number in range(5):
        for name in ("cat", "dog"):
            (tmp_path / "gifs" / name).mkdir(parents=True, exist_ok=True)
            palette.save(tmp_path / "gifs" / name / f"{number}.gif")
    pixel = read(tmp_path / "gifs").train.inputs[0, 0, 0] * 255
    np.testing.assert_allclose(pixel, [30, 60, 90], atol=1e-4)


def other_size(root):
    save(root / "dog" / "big.png", size=(6, 7))


def transparent(root):
    save(root / "dog" / "clear.png", (1, 2, 3, 4), mode="RGBA")


def colour(root):
    save(root / "dog" / "red.png", (1, 2, 3), mode="RGB")


def damaged(root):
    (root / "cat" / "7.png").write_bytes((root / "cat" / "1.png").read_bytes()[:40])


def not_a_picture(root):
    (root / "dog" / "x.jpg").write_text("no picture")


def real_numbers(root):
    Image.fromarray(np.ones((4, 5), np.float32)).save(root / "cat" / "real.tiff")


def stray(root):
    (root / "cat" / "labels.txt").write_text("")


def nested(root):
    (root / "cat" / "more").mkdir()


def loose(root):
    save(root / "loose.png")


def empty(root):
    (root / "eel").mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_size, r"2 sizes, such as .*\(4 x 5\) and dog.big\.png \(6 x 7\); .* size: \[4, 5\]"),
        (transparent, r"grey \(.*\), transparent \(dog.clear\.png\); give channels: 1 or channel"),
        (colour, r"are colour \(dog.red\.png\), grey \(.*\.png\); give channels"),
        (damaged, r"the picture cat.7\.png cannot be read \(.*\); mend or remove it"),
        (not_a_picture, r"the picture dog.x\.jpg cannot be read \(cannot identify image file\)"),
        (real_numbers, r"cat.real\.tiff holds 32-bit numbers \(mode F\)"),
        (stray, r"cat.labels\.txt has no ending of a picture; .* leading dot"),
        (nested, "cat.more is a folder; a class folder holds pictures alone"),
        (loose, r"the picture loose\.png is in no class folder"),
        (empty, "the class folder eel holds no picture"),
    ],
)
def test_what_is_wrong_with_a_picture_is_named(tmp_path, spoil, message):
    fill(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ConfigError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["cat"], r"needs at least 2 class folders, and .* has only 'cat'"),
        ([], "needs at least 2 class folders, and .* has none"),
        (["train/cat", "test/cat"], r"2 class folders, and .*train has only 'cat'"),
        (["test/cat", "test/dog"], "has test, but no folder train"),
        (["train/cat", "cat"], "'cat' is none of them; put classes below train"),
        (["train/a", "train/b", "val/a", "validation/a"], "'validation' is a second val"),
        (["train/a", "train/b", "test/a"], "test lacks the class 'b', which train has"),
        (["train/a", "train/b", "val/a", "val/b", "val/c"], "val has 'c', which train has not"),
    ],
)
def test_wrong_layouts_are_refused(tmp_path, folders, message):
    for folder in folders:
        save(tmp_path / folder / "0.png")
    with pytest.raises(ConfigError, match=message):
        read(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be an integer of at least 1, got 0"),
        ({"size": [3]}, r"size must be one number or \[height, width\], got \[3\]"),
        ({"size": "big"}, "size must be an integer of at least 1, got 'big'"),
        ({"channels": 2}, "channels must be 1 or 3, got 2"),
        ({"max_value": 0}, "max_value must be a number above 0, got 0"),
        ({"channels": True}, "channels must be 1 or 3, got True"),
        ({"chanels": 1}, "'chanels'; did you mean 'channels'"),
    ],
)
def test_wrong_options_are_refused(tmp_path, options, message):
    fill(tmp_path)
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, **options)


def both(folder, encoded, count=5):
    """The same pictures in two classes: their bytes, or what saves them to a path."""
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            encoded(folder / name / f"{number}.png")


def deep(value):
    """Saves a 16-bit grey picture with values from 0 to `value`."""
    pixels = np.linspace(0, value, 20).round().astype(np.uint16).reshape(4, 5)
    return lambda path: Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("value", "largest"), [(200, 255), (1000, 1023), (4095, 4095), (9000, 16383), (65535, 65535)]
)
def test_sixteen_bits_are_scaled_by_the_bits_they_use(tmp_path, value, largest):
    both(tmp_path, deep(value))
    data = read(tmp_path)
    expected = np.linspace(0, value, 20).round() / largest
    np.testing.assert_allclose(data.train.inputs[0].ravel(), expected, rtol=1e-6)
    assert any(
        f"no number above {value:g}; they are divided by {largest:,}" in n for n in data.notes
    )
    given = read(tmp_path, max_value=65535)
    np.testing.assert_allclose(given.train.inputs[0].ravel() * 65535, expected * largest, rtol=1e-6)
    small = read(tmp_path, size=[2, 5], max_value=65535, channels=3)
    assert small.train.inputs.shape[1:] == (2, 5, 3)
    with pytest.raises(ConfigError, match=f"holds {value:g}, which exceeds max_value: 100"):
        read(tmp_path, max_value=100)


def colours(value):
    """Saves 16-bit colours, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(kind, body):
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    row = b"\0" + np.full((5, 3), value, ">u2").tobytes()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0))
    content = head + chunk(b"IDAT", zlib.compress(row * 4)) + chunk(b"IEND", b"")
    return lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def test_sixteen_bit_colours_are_told_or_refused(tmp_path):
    both(tmp_path / "bright", colours(200 * 257))
    data = read(tmp_path / "bright")
    np.testing.assert_array_equal(values(data.train), 200)
    assert any("10 of 10 pictures have 16 bits per colour" in note for note in data.notes)
    both(tmp_path / "dark", colours(200))
    with pytest.raises(ConfigError, match="reads the upper 8, and they hold no number above 0"):
        read(tmp_path / "dark")


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (5, 4), 40).save(path, "JPEG", exif=exif)


def moving(path):
    frames = [Image.new("L", (5, 4), value) for value in (30, 60)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def keyed(path):
    Image.new("L", (5, 4), 70).save(path, transparency=70)


@pytest.mark.parametrize(
    ("save_one", "options", "note", "value"),
    [
        (turned, {}, "note a rotation beside the picture", 40),
        (moving, {"channels": 1}, "hold several pictures; the first is taken", 30),
        (keyed, {"channels": 1}, "transparent in places; that is dropped", 70),
        (lambda p: Image.new("CMYK", (5, 4)).save(p, "JPEG"), {}, "colours of print (CMYK)", 255),
        (lambda p: Image.new("1", (5, 4), 1).save(p), {}, None, 255),
        (lambda p: Image.new("LA", (5, 4), (80, 0)).save(p), {"channels": 1}, "dropped", 80),
        (lambda p: Image.new("L", (5, 4), 1).save(p), {}, "write max_value: 1", 1),
        (lambda p: Image.new("L", (5, 4), 1).save(p), {"max_value": 1}, None, 255),
        (lambda p: Image.new("F", (5, 4), 0.2).save(p, "TIFF"), {"max_value": 1}, None, 51),
        (lambda p: Image.new("I", (5, 4), 100).save(p, "TIFF"), {"max_value": 500}, None, 51),
    ],
)
def test_kinds_of_pictures_give_their_numbers_or_a_word(tmp_path, save_one, options, note, value):
    both(tmp_path, save_one)
    data = read(tmp_path, **options)
    assert np.abs(values(data.train) - value).max() <= 1  # JPEG
    of_splits = ("also occur", "is of class")
    told = [each for each in data.notes if not any(words in each for words in of_splits)]
    assert len(told) == (note is not None)
    assert note is None or note in told[0]


def test_class_folders_are_compared_in_composed_letters(tmp_path):
    """macOS and archives made there give a letter and its accent apart."""
    composed, apart = "caf\u00e9", "cafe\u0301"
    fill(tmp_path / "train", classes=(composed, "dog"))
    fill(tmp_path / "test", classes=(apart, "dog"), start=100)
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "test" / apart / ".DS_Store").write_text("")
    data = read(tmp_path)
    np.testing.assert_array_equal(data.test.targets, values(data.test) // 10 - 10)
    save(tmp_path / "train" / apart / "7.PNG", 7)  # the same class, twice in one folder
    data = read(tmp_path)
    labels = np.concatenate([data.train.targets, data.val.targets])
    assert np.bincount(labels).tolist() == [6, 5]
    # letters with accents come where their composed form does, whatever the file system does
    fill(tmp_path / "sorted", classes=("e\u0301a", "eb", "f"))
    found = read(tmp_path / "sorted")
    parts = (found.train, found.val, found.test)
    assert {(v // 10, t) for p in parts for v, t in zip(values(p), p.targets, strict=True)} == {
        (0, 2),
        (1, 0),
        (2, 1),
    }
