"""The study folder: all or nothing, one writer, checksums, and words for what goes wrong."""

import errno
import json
import os
import shutil
import zlib

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from initopt_jax.engine.events import Checkpoint
from initopt_jax.engine.plan import Tile
from initopt_jax.engine.records import Variable
from initopt_jax.errors import Interrupted, StudyError
from initopt_jax.store import (
    JOURNAL,
    LANES,
    MANIFEST,
    RESULTS,
    ArrayLayout,
    Damage,
    FinishedTile,
    Store,
)
from initopt_jax.store.files import clear_errors
from initopt_jax.store.results import CHUNK_BYTES

VARIABLES = {
    "loss": Variable(("lane", "eval")),
    "diverged": Variable(("lane",), "bool"),
    "norm": Variable(("lane", "eval", "leaf")),
}
NAMES = list(VARIABLES)


def make_layout(lanes=6, evals=3, leaves=("a/w", "a/b")):
    sizes = {"lane": lanes, "eval": evals, "leaf": len(leaves)}
    return ArrayLayout(VARIABLES, sizes, {"leaf": leaves})


def make_table(lanes=6):
    return pd.DataFrame({"cell": range(lanes)}, index=pd.RangeIndex(lanes, name="lane"))


def make_store(folder, lanes=6):
    store = Store(folder)
    manifest = {"status": "running", "lanes": lanes, "tiles": 3}
    with store.locked():
        store.create(manifest, make_table(lanes), make_layout(lanes))
    return store


def test_a_label_is_a_text_whatever_it_looks_like(tmp_path):
    labels = ["NA", "1", "01", "", 'a,"b"', "a\r", "'=1"]
    table = pd.DataFrame(
        {"initializer": labels, "optimizer": labels[::-1], "optimizer.rho": [0.5, np.nan] * 3 + [1]}
    ).rename_axis("lane")
    store = Store(tmp_path)
    with store.locked():
        store.create({"status": "running"}, table, make_layout(len(labels)))
    pd.testing.assert_frame_equal(store.lanes(), table, check_exact=True)
    assert store.manifest()["lane_columns"] == {
        "lane": "int", "initializer": "text", "optimizer": "text", "optimizer.rho": "float",
    }  # fmt: skip


def test_a_lane_table_of_an_earlier_version_is_read_and_then_typed(study_dir):
    """It says nothing of its columns; taking the study up again writes it anew."""
    store = make_store(study_dir)
    store.write_file(LANES, b"lane,cell\n0,0\n1,7\n")
    manifest = store.manifest()
    del manifest["lane_columns"]
    store.write_manifest(manifest | {"lanes_crc": zlib.crc32((study_dir / LANES).read_bytes())})
    assert store.lanes()["cell"].tolist() == [0, 7]
    store.restore(make_table(), make_layout())
    assert store.manifest()["lane_columns"] == {"lane": "int", "cell": "int"}
    assert store.lanes()["cell"].tolist() == list(range(6))


def tile(index, *lanes):
    return Tile(index, program=0, steps=10, lanes=np.array(lanes))


def rows(count, start=0.0, evals=3):
    values = np.arange(count * evals, dtype=np.float32).reshape(count, evals) + start
    return {
        "loss": values,
        "diverged": np.arange(count) % 2 == 0,
        "norm": np.repeat(values[..., None], 2, axis=2),
    }


def test_rows_come_back_and_missing_ones_are_nan(study_dir):
    store = make_store(study_dir)
    store.write_tiles([FinishedTile(tile(1, 2, 3), rows(2), 0.1)])
    data = Store(study_dir).dataset()
    np.testing.assert_array_equal(data["loss"][2:4], rows(2)["loss"])
    assert np.isnan(data["loss"][4:]).all()
    assert data["leaf"].to_numpy().tolist() == ["a/w", "a/b"]
    assert data["norm"].dims == ("lane", "eval", "leaf")


def assert_opens_plainly(folder):
    """With xarray alone, in silence, and with the same content either way; warnings are errors."""
    place = folder / RESULTS
    plain, apart = xr.open_zarr(place), xr.open_zarr(place, consolidated=False)
    assert set(plain.data_vars) == set(VARIABLES)
    xr.testing.assert_identical(plain.load(), apart.load())
    return plain


def test_results_open_with_xarray_alone_at_any_time(study_dir):
    """Before, while and after tiles are written, and after the study was taken up again."""
    store = make_store(study_dir)
    assert np.isnan(assert_opens_plainly(study_dir)["loss"]).all()
    store.write_tiles([FinishedTile(tile(0, 0, 1), rows(2), 0.1)])
    np.testing.assert_array_equal(assert_opens_plainly(study_dir)["loss"][:2], rows(2)["loss"])
    root = study_dir / RESULTS / "zarr.json"
    whole = root.read_bytes()
    for missing in ("the copy", "one array"):  # a study of an earlier version; a damaged copy
        described = json.loads(whole)
        if missing == "the copy":
            del described["consolidated_metadata"]
        else:
            del described["consolidated_metadata"]["metadata"]["norm"]
        root.write_text(json.dumps(described))
        Store(study_dir).restore(make_table(), make_layout())
        assert root.read_bytes() == whole
    assert_opens_plainly(study_dir)
    assert store.finished([tile(0, 0, 1)], NAMES) == {0}


def test_lanes_apart_and_fewer_evaluations_fit(study_dir):
    store = make_store(study_dir)
    store.write_tiles([FinishedTile(tile(0, 0, 1, 4), rows(3, evals=2), 0.1)])
    loss = store.dataset()["loss"].to_numpy()
    np.testing.assert_array_equal(loss[[0, 1, 4], :2], rows(3, evals=2)["loss"])
    assert np.isnan(loss[[0, 1, 4], 2]).all()
    assert store.finished([tile(0, 0, 1, 4)], NAMES) == {0}


def test_damaged_rows_are_not_finished(study_dir):
    store = make_store(study_dir)
    store.write_tiles([FinishedTile(tile(0, 0, 1), rows(2), 0.1)])
    store.write_tiles([FinishedTile(tile(1, 2, 3), rows(2, start=9), 0.1)])
    both = [tile(0, 0, 1), tile(1, 2, 3)]
    assert Store(study_dir).finished(both, NAMES) == {0, 1}
    chunk = next(path for path in (study_dir / RESULTS / "loss" / "c").rglob("*") if path.is_file())
    chunk.unlink()
    assert Store(study_dir).finished(both, NAMES) == set()


def test_journal_line_cut_short_spoils_no_other(study_dir):
    store = make_store(study_dir)
    store.write_tiles([FinishedTile(tile(0, 0, 1), rows(2), 0.1)])
    with (study_dir / JOURNAL).open("a") as file:
        file.write('{"tile": 1, "cr')
    store.write_tiles([FinishedTile(tile(2, 4, 5), rows(2), 0.1)])
    assert store.finished([tile(0, 0, 1), tile(1, 2, 3), tile(2, 4, 5)], NAMES) == {0, 2}


def test_second_writer_is_refused(study_dir):
    first, second = Store(study_dir), Store(study_dir)
    with first.locked(), pytest.raises(StudyError, match="another process"), second.locked():
        pass
    with second.locked():
        pass


def test_folder_that_is_no_study(tmp_path):
    with pytest.raises(StudyError, match="not a study folder"):
        Store(tmp_path).manifest()
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(StudyError, match=r"holds 'thesis\.tex'"):
        Store(tmp_path).refuse_foreign()


def test_manifest_cut_in_half_is_named(study_dir):
    make_store(study_dir)
    path = study_dir / MANIFEST
    path.write_text(path.read_text()[:9])
    with pytest.raises(StudyError, match="damaged"):
        Store(study_dir).manifest()


def test_later_format_is_refused(study_dir):
    make_store(study_dir)
    (study_dir / MANIFEST).write_text(json.dumps({"format": 99}))
    with pytest.raises(StudyError, match="format 99"):
        Store(study_dir).manifest()


def test_full_disk_keeps_the_old_file(study_dir, monkeypatch):
    store = make_store(study_dir)
    before = (study_dir / LANES).read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Interrupted, match="no space left"):
        store.write_file(LANES, b"new")
    assert (study_dir / LANES).read_bytes() == before
    assert not list(study_dir.glob("*.part"))
    monkeypatch.undo()
    assert store.manifest()["status"] == "running"


def test_full_disk_amid_a_tile_leaves_it_unfinished(study_dir, monkeypatch):
    store = make_store(study_dir)
    store.write_tiles([FinishedTile(tile(0, 0, 1), rows(2), 0.1)])
    norm = store._results._array("norm")

    class Full:
        shape, dtype = norm.shape, norm.dtype

        def __setitem__(self, place, value):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(store._results._arrays, "norm", Full())
    with pytest.raises(Interrupted, match="no space left"):
        store.write_tiles([FinishedTile(tile(1, 2, 3), rows(2), 0.1)])
    monkeypatch.undo()
    both = [tile(0, 0, 1), tile(1, 2, 3)]
    assert Store(study_dir).finished(both, NAMES) == {0}
    store.write_tiles([FinishedTile(tile(1, 2, 3), rows(2), 0.1)])
    assert Store(study_dir).finished(both, NAMES) == {0, 1}


def test_checkpoint_comes_back_bit_for_bit(study_dir):
    store = make_store(study_dir)
    leaves = [np.float32([[1.5, np.nan]]), np.int32([7]), np.array([True, False])]
    # An optimizer without a state has a stored state of no entries.
    curves = {"loss": np.float32([[1, np.nan, np.nan]]), "kept_state": np.zeros((1, 2, 0), "u4")}
    saved = Checkpoint(20, leaves, curves, np.float32([0.25]))
    store.save_checkpoint(tile(3, 0), saved._replace(step=10))
    store.save_checkpoint(tile(3, 0), saved)
    loaded = store.load_checkpoint(tile(3, 0))
    assert loaded is not None
    assert loaded.step == 20
    assert [leaf.tobytes() for leaf in loaded.leaves] == [leaf.tobytes() for leaf in leaves]
    assert [leaf.dtype for leaf in loaded.leaves] == [leaf.dtype for leaf in leaves]
    assert list(loaded.record) == sorted(curves)
    for name, array in curves.items():
        assert loaded.record[name].tobytes() == array.tobytes()
        assert (loaded.record[name].shape, loaded.record[name].dtype) == (array.shape, array.dtype)
    folder = study_dir / "checkpoints" / "tile-000003"
    assert [path.name for path in folder.iterdir()] == ["20"]


def test_chunks_hold_whole_curves_and_stay_small():
    small, large = make_layout(10_000), make_layout(10_000, evals=300, leaves=["leaf"] * 100)
    assert small.chunks("loss") == (512, 3)
    assert small.chunks("diverged") == (512,)
    assert large.chunks("norm") == (8, 300, 100)
    assert 8 * 300 * 100 * 4 <= CHUNK_BYTES < 16 * 300 * 100 * 4
    assert make_layout(10, evals=3000, leaves=["leaf"] * 1000).chunks("norm") == (1, 3000, 1000)


def test_tiles_that_cross_blocks_are_checked_whole(study_dir, monkeypatch):
    """Chunks of 4 lanes, read one by one; tiles of 3 lanes, scattered over them."""
    monkeypatch.setattr("initopt_jax.store.results.CHUNK_LANES", 4)
    monkeypatch.setattr("initopt_jax.store.results.BLOCK_BYTES", 1)
    store = make_store(study_dir, lanes=21)
    order = np.random.default_rng(0).permutation(21).reshape(7, 3)
    tiles = [tile(number, *np.sort(lanes)) for number, lanes in enumerate(order)]
    for number, each in enumerate(tiles):
        store.write_tiles([FinishedTile(each, rows(3, start=100 * number), 0.1)])
    assert Store(study_dir).finished(tiles, NAMES) == set(range(7))
    chunk = study_dir / RESULTS / "loss" / "c" / "2" / "0"  # lanes 8 to 11
    chunk.write_bytes(chunk.read_bytes()[:-3])
    hit = {each.index for each in tiles if np.isin(each.lanes, [8, 9, 10, 11]).any()}
    assert 0 < len(hit) < 7
    assert Store(study_dir).finished(tiles, NAMES) == set(range(7)) - hit


def test_rows_of_nothing_but_nan_keep_their_bits(study_dir):
    """A NaN that arithmetic made may have its sign bit set, the one that stands for nothing not."""
    store = make_store(study_dir)
    bits = np.uint32([0xFFC00000, 0x7FC00001, 0x7FC00000] * 6).reshape(6, 3)
    record = rows(6) | {"loss": bits.view(np.float32)}
    store.write_tiles([FinishedTile(tile(0, *range(6)), record, 0.1)])
    assert Store(study_dir).finished([tile(0, *range(6))], NAMES) == {0}
    found = Store(study_dir).dataset()["loss"].to_numpy()
    np.testing.assert_array_equal(found.view(np.uint32), bits)


TILES = [tile(0, 0, 1), tile(1, 2, 3), tile(2, 4, 5)]
WHOLE = [rows(2, start=10 * number) for number in range(3)]


@pytest.fixture
def finished_study(study_dir):
    """A study of three tiles, all written."""
    store = make_store(study_dir)
    for each, record in zip(TILES, WHOLE, strict=True):
        store.write_tiles([FinishedTile(each, record, 0.1)])
    return study_dir


def assert_redone(folder):
    """What counts as finished is right, and after the rest was redone everything is."""
    store = Store(folder)
    with store.locked():
        store.restore(make_table(), make_layout())
        done = store.finished(TILES, NAMES)
        data = store.dataset()
        for number in done:
            for name, values in WHOLE[number].items():
                np.testing.assert_array_equal(data[name][TILES[number].lanes], values)
        for each in TILES:
            if each.index not in done:
                store.write_tiles([FinishedTile(each, WHOLE[each.index], 0.1)])
        again = Store(folder)
        again.refuse_damage()
        for name in NAMES:
            wanted = np.concatenate([record[name] for record in WHOLE])
            np.testing.assert_array_equal(again.dataset()[name], wanted)
        assert again.dataset()["leaf"].to_numpy().tolist() == ["a/w", "a/b"]
        pd.testing.assert_frame_equal(again.lanes(), make_table())
    return done


def flipped(content, position):
    """The content with one bit of it turned over, another one for every position."""
    damaged = bytearray(content)
    damaged[position] ^= 1 << position % 8
    return bytes(damaged)


HARM = {
    "gone": None,
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "zeros": lambda content: bytes(len(content)),
    "longer": lambda content: content + b"\x00{}",
}


def harm(path, how):
    if how is None:
        path.unlink()
    else:
        path.write_bytes(how(path.read_bytes()))


@pytest.mark.parametrize("how", HARM)
@pytest.mark.parametrize(
    "place", ["loss/c/0/0", "diverged/c/0", "loss/zarr.json", "norm/zarr.json", "zarr.json"]
)
def test_damaged_results_are_redone(finished_study, place, how):
    path = finished_study / RESULTS / place
    before = path.read_bytes()
    harm(path, HARM[how])
    done = assert_redone(finished_study)
    if place.endswith("zarr.json"):
        assert done == {0, 1, 2}, "the rows were not touched"
    elif how != "longer":  # a codec may overlook what stands behind its own end
        assert done == set()
    assert path.read_bytes() == before


def test_no_flipped_bit_of_the_results_is_read_as_a_number(finished_study):
    """A bit here and there in every file, one after the other."""
    files = [path for path in (finished_study / RESULTS).rglob("*") if path.is_file()]
    assert len(files) == 1 + 2 * len(NAMES)
    for path in files:
        before = path.read_bytes()
        for position in range(0, len(before), 1 + len(before) // 12):
            path.write_bytes(flipped(before, position))
            assert_redone(finished_study)


def test_arrays_that_are_gone_are_laid_anew(finished_study):
    shutil.rmtree(finished_study / RESULTS / "norm")
    with pytest.raises(StudyError, match=r"lacks norm; run the study again \(initopt run"):
        Store(finished_study).unverified()
    assert assert_redone(finished_study) == set()
    shutil.rmtree(finished_study / RESULTS)
    with pytest.raises(StudyError, match="lacks diverged, loss, norm"):
        Store(finished_study).unverified()
    assert assert_redone(finished_study) == set()


@pytest.mark.parametrize("how", [*HARM, "other"])
def test_lane_table_that_was_altered_is_refused_and_made_anew(finished_study, how):
    path = finished_study / LANES
    before = path.read_bytes()
    harm(path, HARM.get(how, lambda content: content.replace(b"5,5", b"5,6")))
    assert not path.exists() or path.read_bytes() != before
    with pytest.raises(StudyError, match=r"lanes\.csv .* missing or was altered; run the study"):
        Store(finished_study).lanes()
    assert assert_redone(finished_study) == {0, 1, 2}
    assert path.read_bytes() == before


def test_garbage_in_the_journal_is_passed_over(finished_study):
    path = finished_study / JOURNAL
    good = path.read_bytes()
    lines = [
        b"\xff\xfe\x00 \x80", b"[]", b"7", b'{"tile": 1}', b'{"tile": 1, "lanes": [], "crc": 5}',
        b'{"tile": 1, "lanes": [[2, 9]], "crc": 5}', b'{"tile": Infinity, "lanes": [[2, 4]]}',
        b'{"tile": 1, "lanes": [[-1, 3]], "crc": 5}', b'{"tile": 1, "lanes": 3, "crc": 5}',
        b'{"tile": 1, "lanes": [[2, 4]], "crc": 1e999}', b"[" * 100_000,
        b'{"tile": 77, "lanes": [[0, 6]], "crc": 0}',
    ]  # fmt: skip
    path.write_bytes(b"\n".join(lines) + good + b"\n".join(lines))
    assert Store(finished_study).damage() == Damage(3, 0, {}, "")
    assert assert_redone(finished_study) == {0, 1, 2}
    path.write_bytes(good.replace(b'"crcs": {"diverged": ', b'"crcs": {"diverged": 1', 1))
    assert Store(finished_study).damage() == Damage(3, 1, {}, "")
    assert assert_redone(finished_study) == {1, 2}
    path.unlink()
    assert Store(finished_study).damage() == Damage(3, 3, {}, "")
    assert assert_redone(finished_study) == set()


def test_what_is_lacking_is_counted_and_the_way_out_named(finished_study, study_dir):
    store = Store(finished_study)
    store.refuse_damage()
    path = finished_study / JOURNAL
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(line for line in lines if b'"tile": 2' not in line))
    store.refuse_damage(unfinished=True)
    with pytest.raises(StudyError, match="1 of 3 tiles is missing; run the study again"):
        store.refuse_damage()
    (finished_study / RESULTS / "loss" / "c" / "0" / "0").unlink()
    message = f"1 of 3 tiles is missing and 2 of 3 tiles are damaged.*--out {study_dir}"
    with pytest.raises(StudyError, match=message):
        Store(finished_study).refuse_damage()
    with pytest.raises(StudyError, match="2 of 3 tiles are damaged"):
        Store(finished_study).refuse_damage(unfinished=True)


def test_results_without_their_manifest_are_not_overwritten(finished_study):
    (finished_study / MANIFEST).unlink()
    path = finished_study / JOURNAL
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join(line for line in lines if b"manifest" not in line))
    with pytest.raises(StudyError, match=r"holds results, but its manifest\.json is gone"):
        Store(finished_study).refuse_foreign()


def test_manifest_comes_back_from_its_copy(finished_study):
    whole = (finished_study / MANIFEST).read_bytes()
    for how in HARM.values():
        (finished_study / MANIFEST).write_bytes(whole)
        harm(finished_study / MANIFEST, how)
        with pytest.raises(StudyError, match=r"manifest\.json .*its copy in journal"):
            Store(finished_study).manifest()
        assert assert_redone(finished_study) == {0, 1, 2}
        assert Store(finished_study).manifest()["times_lost"], "the copy is from before training"


def test_leftovers_of_kills_are_cleared_away(finished_study):
    leftovers = [
        "manifest.json.part", "figures/heatmap.png.part", "results.zarr/loss/c/0/0.1f.partial",
        "checkpoints/tile-000001/20.orbax-checkpoint-tmp-1/d/x",
    ]  # fmt: skip
    for name in leftovers:
        path = finished_study / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half a file")
    assert assert_redone(finished_study) == {0, 1, 2}
    assert not [name for name in leftovers if (finished_study / name).exists()]
    assert not list((finished_study / "checkpoints" / "tile-000001").iterdir())


def test_checkpoint_of_a_finished_tile_goes(study_dir):
    store = make_store(study_dir)
    saved = Checkpoint(20, [np.float32([1])], {}, np.float32([0]))
    store.save_checkpoint(TILES[0], saved)
    store.save_checkpoint(TILES[1], saved)
    store.write_tiles([FinishedTile(TILES[0], WHOLE[0], 0.1)])
    assert store.load_checkpoint(TILES[0]) is None
    assert store.load_checkpoint(TILES[1]) is not None


def test_no_flipped_bit_of_a_checkpoint_is_trained_on(study_dir):
    store = make_store(study_dir)
    leaves = [np.arange(300, dtype=np.float32), np.array([7], np.int32)]
    saved = Checkpoint(20, leaves, {"loss": np.float32([[1, 2]])}, np.float32([0.25, 4]))
    store.save_checkpoint(TILES[0], saved)
    files = [path for path in (study_dir / "checkpoints").rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        before = path.read_bytes()
        for position in range(0, len(before), 1 + len(before) // 40):
            path.write_bytes(flipped(before, position))
            assert store.load_checkpoint(TILES[0]) is None
        for how in HARM.values():
            path.write_bytes(before)
            harm(path, how)
            assert store.load_checkpoint(TILES[0]) is None
        path.write_bytes(before)
    assert store.load_checkpoint(TILES[1]) is None, "it never had one"
    loaded = store.load_checkpoint(TILES[0])
    assert loaded is not None
    assert loaded.leaves[0].tobytes() == leaves[0].tobytes()


def test_checkpoint_of_another_tile_or_study_is_not_trained_on(study_dir, tmp_path, caplog):
    store, other = make_store(study_dir), make_store(tmp_path / "other")
    saved = Checkpoint(20, [np.float32([1])], {}, np.float32([0]))
    for each in (store, other):
        each.save_checkpoint(TILES[0], saved)
    own = study_dir / "checkpoints"
    shutil.copytree(own / "tile-000000", own / "tile-000001")
    assert store.load_checkpoint(TILES[1]) is None
    assert store.load_checkpoint(TILES[0]) is not None
    assert caplog.text.count("is of another study, tile or step") == 1
    shutil.rmtree(own / "tile-000000")
    shutil.copytree(tmp_path / "other" / "checkpoints" / "tile-000000", own / "tile-000000")
    assert store.load_checkpoint(TILES[0]) is None
    assert store.load_checkpoint(tile(0, 0, 1, 2)) is None, "other lanes"


def test_checkpoint_without_its_seal_is_not_whole(study_dir):
    """As a kill leaves it, between Orbax's last word and ours; the older one serves."""
    store = make_store(study_dir)
    saved = Checkpoint(20, [np.float32([1])], {}, np.float32([0]))
    store.save_checkpoint(TILES[0], saved)
    place = study_dir / "checkpoints" / "tile-000000"
    shutil.copytree(place / "20", place / "30")
    (place / "30" / "checksums.json").unlink()
    loaded = store.load_checkpoint(TILES[0])
    assert loaded is not None
    assert loaded.step == 20


def test_refusals_that_orbax_words_as_it_likes_are_understood(study_dir):
    text = f"RESOURCE_EXHAUSTED: Failed to write 5288 bytes: {os.strerror(errno.ENOSPC)} [...]"
    with pytest.raises(Interrupted, match="no space left"), clear_errors(study_dir):
        raise ValueError(text)
    with (
        pytest.raises(StudyError, match=r"Read-only file system\. Whatever"),
        clear_errors(study_dir),
    ):
        raise ValueError(f"FAILED_PRECONDITION: {os.strerror(errno.EROFS)}")
    with pytest.raises(ValueError, match="something else"), clear_errors(study_dir):
        raise ValueError("something else")
