"""The study folder: all or nothing, one writer, checksums, and words for what goes wrong."""

import errno
import json

import numpy as np
import pandas as pd
import pytest

from initopt_jax.engine.events import Checkpoint
from initopt_jax.engine.plan import Tile
from initopt_jax.engine.records import Variable
from initopt_jax.errors import Interrupted, StudyError
from initopt_jax.store import JOURNAL, LANES, MANIFEST, RESULTS, Store

VARIABLES = {
    "loss": Variable(("lane", "eval")),
    "diverged": Variable(("lane",), "bool"),
    "norm": Variable(("lane", "eval", "leaf")),
}
NAMES = list(VARIABLES)


def make_store(folder, lanes=6):
    store = Store(folder)
    table = pd.DataFrame({"cell": range(lanes)}, index=pd.RangeIndex(lanes, name="lane"))
    sizes = {"lane": lanes, "eval": 3, "leaf": 2}
    with store.locked():
        store.create({"status": "running"}, table, VARIABLES, sizes, {"leaf": ["a/w", "a/b"]})
    return store


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
    store.write_tile(tile(1, 2, 3), rows(2), seconds=0.1)
    data = Store(study_dir).dataset()
    np.testing.assert_array_equal(data["loss"][2:4], rows(2)["loss"])
    assert np.isnan(data["loss"][4:]).all()
    assert data["leaf"].to_numpy().tolist() == ["a/w", "a/b"]
    assert data["norm"].dims == ("lane", "eval", "leaf")


def test_lanes_apart_and_fewer_evaluations_fit(study_dir):
    store = make_store(study_dir)
    store.write_tile(tile(0, 0, 1, 4), rows(3, evals=2), seconds=0.1)
    loss = store.dataset()["loss"].to_numpy()
    np.testing.assert_array_equal(loss[[0, 1, 4], :2], rows(3, evals=2)["loss"])
    assert np.isnan(loss[[0, 1, 4], 2]).all()
    assert store.finished([tile(0, 0, 1, 4)], NAMES) == {0}


def test_damaged_rows_are_not_finished(study_dir):
    store = make_store(study_dir)
    store.write_tile(tile(0, 0, 1), rows(2), seconds=0.1)
    store.write_tile(tile(1, 2, 3), rows(2, start=9), seconds=0.1)
    both = [tile(0, 0, 1), tile(1, 2, 3)]
    assert Store(study_dir).finished(both, NAMES) == {0, 1}
    chunk = next(path for path in (study_dir / RESULTS / "loss" / "c").rglob("*") if path.is_file())
    chunk.unlink()
    assert Store(study_dir).finished(both, NAMES) == set()


def test_journal_line_cut_short_spoils_no_other(study_dir):
    store = make_store(study_dir)
    store.write_tile(tile(0, 0, 1), rows(2), seconds=0.1)
    with (study_dir / JOURNAL).open("a") as file:
        file.write('{"tile": 1, "cr')
    store.write_tile(tile(2, 4, 5), rows(2), seconds=0.1)
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
    store.write_tile(tile(0, 0, 1), rows(2), seconds=0.1)
    norm = store._array("norm")

    class Full:
        shape, dtype = norm.shape, norm.dtype

        def __setitem__(self, place, value):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(store._arrays, "norm", Full())
    with pytest.raises(Interrupted, match="no space left"):
        store.write_tile(tile(1, 2, 3), rows(2), seconds=0.1)
    monkeypatch.undo()
    both = [tile(0, 0, 1), tile(1, 2, 3)]
    assert Store(study_dir).finished(both, NAMES) == {0}
    store.write_tile(tile(1, 2, 3), rows(2), seconds=0.1)
    assert Store(study_dir).finished(both, NAMES) == {0, 1}


def test_checkpoint_comes_back_bit_for_bit(study_dir):
    store = make_store(study_dir)
    leaves = [np.float32([[1.5, np.nan]]), np.int32([7]), np.array([True, False])]
    curves = {"loss": np.float32([[1, np.nan, np.nan]])}
    saved = Checkpoint(20, leaves, curves, np.float32([0.25]))
    store.save_checkpoint(tile(3, 0), saved._replace(step=10))
    store.save_checkpoint(tile(3, 0), saved)
    loaded = store.load_checkpoint(tile(3, 0))
    assert loaded is not None
    assert loaded.step == 20
    assert [leaf.tobytes() for leaf in loaded.leaves] == [leaf.tobytes() for leaf in leaves]
    assert [leaf.dtype for leaf in loaded.leaves] == [leaf.dtype for leaf in leaves]
    assert loaded.record["loss"].tobytes() == curves["loss"].tobytes()
    folder = study_dir / "checkpoints" / "tile-000003"
    assert [path.name for path in folder.iterdir()] == ["20"]


def test_unreadable_checkpoint_is_passed_over(study_dir):
    store = make_store(study_dir)
    saved = Checkpoint(20, [np.float32([1])], {}, np.float32([0]))
    store.save_checkpoint(tile(0, 0), saved)
    for path in (study_dir / "checkpoints").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:3])
    assert store.load_checkpoint(tile(0, 0)) is None
    assert store.load_checkpoint(tile(1, 0)) is None
