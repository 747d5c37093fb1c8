import logging
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from initopt_jax.data import SplitSpec, cache, load, pictures
from initopt_jax.errors import ConfigError
from initopt_jax.types import Split
from tests.data.test_tfds import SPEC, prepare


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    prepare(folder, sizes={"train": 30, "test": 12})
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("INITOPT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture
def decoded(monkeypatch):
    """Numbers of pictures decoded so far, one entry per reading."""
    counts = []
    original = pictures.PictureSet.decoded

    def counted(self, split, rows):
        counts.append(len(rows))
        return original(self, split, rows)

    monkeypatch.setattr(pictures.PictureSet, "decoded", counted)
    return counts


def read(place, *, split=SPEC, **options):
    spec = {"name": "tfds:tiny_pictures"} | options
    return load(spec, kind="classification", split=split, data_dir=str(place))


def arrays(data):
    return [array for part in (data.train, data.val, data.test) for array in part]


def same(one, other):
    assert one.fingerprint == other.fingerprint
    assert one.outputs == other.outputs
    for left, right in zip(arrays(one), arrays(other), strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


def entry(text="a", size=4):
    key = cache.make_key(text=text)
    part = Split(np.full((size, 1), ord(text), np.uint8), np.arange(size, dtype=np.int32))
    return key, lambda: ((part,), {"text": text})


def test_the_second_load_decodes_nothing_and_gives_the_same_bytes(
    prepared, folder, decoded, monkeypatch
):
    first, second = read(prepared), read(prepared)
    assert decoded == [30, 12]
    same(first, second)
    assert not second.train.inputs.flags.writeable
    monkeypatch.setenv("INITOPT_CACHE_GIB", "0")
    same(read(prepared), second)
    assert decoded == [30, 12, 30, 12]


def test_pictures_are_decoded_once_for_all_options(prepared, folder, decoded):
    whole = read(prepared)
    again = read(prepared, split=SplitSpec(val=0.3, test=0.1, seed=1), normalize=False)
    few = read(prepared, limit=5)
    assert decoded == [30, 12]
    assert len({data.fingerprint for data in (whole, again, few)}) == 3
    assert len(few.train.inputs) == 5


def test_a_limit_decodes_only_what_it_asks_for(prepared, folder, decoded):
    few = read(prepared, limit=5)
    assert decoded == [5 + 6, 12]
    cache.clear()
    read(prepared)
    same(few, read(prepared, limit=5))


def test_other_files_and_other_options_have_other_keys(prepared, folder, tmp_path):
    files = [path for path in prepared.rglob("*") if path.is_file()]
    copies = []
    for path in files:
        copies.append(tmp_path / path.name)
        copies[-1].write_bytes(path.read_bytes())
    assert cache.digest_files(files) == cache.digest_files(reversed(copies))
    before = copies[0].stat()
    content = bytearray(copies[0].read_bytes())
    content[-1] ^= 1
    copies[0].write_bytes(content)
    os.utime(copies[0], ns=(before.st_atime_ns, before.st_mtime_ns))  # neither size nor time tells
    assert cache.digest_files(files) != cache.digest_files(copies)


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "json"])
def test_a_damaged_entry_is_noticed_and_made_again(folder, caplog, damage):
    key, make = entry()
    whole = cache.kept(key, make)
    file = folder / key / ("entry.json" if damage == "json" else "0-inputs.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content if damage in ("bit", "json") else content[:-1])
    if damage == "gone":
        file.unlink()
    with caplog.at_level(logging.WARNING):
        mended = cache.kept(key, make)
    assert "is damaged and made again" in caplog.text
    np.testing.assert_array_equal(mended.splits[0].inputs, whole.splits[0].inputs)
    made = []
    assert cache.kept(key, lambda: made.append(1)).facts == {"text": "a"}
    assert not made


def test_what_is_not_used_for_longest_makes_room(folder, monkeypatch):
    for age, text in enumerate("abc"):
        key, make = entry(text, size=1000)
        cache.kept(key, make)
        os.utime(folder / key, (age, age))
    cache.kept(*entry("a"))  # used now
    room = cache.usage().bytes + 100  # a fourth entry does not fit
    monkeypatch.setenv("INITOPT_CACHE_GIB", str(room / 2**30))
    cache.kept(*entry("d", size=1000))
    assert {text for text in "abcd" if cache.holds(entry(text)[0])} == {"a", "c", "d"}
    assert cache.usage().bytes <= room
    cache.kept(*entry("e", size=100_000))  # larger than all that is allowed: not kept
    assert {text for text in "acde" if cache.holds(entry(text)[0])} == {"a", "c", "d"}


def test_nothing_half_written_stays(folder, monkeypatch):
    key, make = entry()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.kept(key, make)
    assert [path.name for path in folder.iterdir() if path.suffix != ".lock"] == []
    assert cache.kept(key, make).facts == {"text": "a"}


def test_clearing_leaves_what_is_not_the_caches(folder):
    cache.kept(*entry())
    (folder / ".partial-x").mkdir()
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("all of it")
    assert cache.clear().entries == 1
    assert [path.name for path in folder.iterdir()] == ["mine"]
    assert cache.usage()[1:3] == (0, 0)


def test_a_folder_that_cannot_be_used_is_done_without(folder, caplog):
    folder.parent.mkdir()
    folder.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert cache.kept(*entry()).facts == {"text": "a"}
    assert "is not used" in caplog.text


def test_one_makes_the_entry_while_others_wait(folder):
    key, make = entry()
    entered, counts = threading.Event(), []

    def slow():
        counts.append(1)
        entered.set()
        # the other has asked by now, or asks later and finds the entry: made once either way
        threading.Event().wait(0.2)
        return make()

    first = threading.Thread(target=cache.kept, args=(key, slow))
    first.start()
    entered.wait()
    code = (
        "import sys; from initopt_jax.data import cache\n"
        "print(cache.kept(sys.argv[1], lambda: sys.exit('made twice')).facts['text'])"
    )
    other = subprocess.Popen([sys.executable, "-c", code, key], stdout=subprocess.PIPE, text=True)
    assert cache.kept(key, slow).facts == {"text": "a"}
    first.join()
    assert other.communicate(timeout=60)[0] == "a\n"
    assert counts == [1]


def test_processes_decode_the_same_pictures(prepared, folder, decoded, monkeypatch):
    alone = read(prepared)
    cache.clear()
    monkeypatch.setattr(pictures, "_WORTH_A_PROCESS", 20 * pictures._PER_PICTURE / 2)
    monkeypatch.setattr(pictures, "_cores", lambda: 2)
    decoded.clear()
    same(alone, read(prepared))
    assert decoded == [12]  # the test split; the training split went to two processes


@pytest.mark.parametrize("size", ["many", "-1", "inf", "nan"])
def test_a_wrong_size_is_refused(folder, monkeypatch, size):
    monkeypatch.setenv("INITOPT_CACHE_GIB", size)
    with pytest.raises(ConfigError, match=r"INITOPT_CACHE_GIB must be a number of at least 0, got"):
        cache.kept(*entry())
