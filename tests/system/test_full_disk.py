"""A disk that is full, or may not be written to: clear words, and the same bytes once it is mended.

The disk is real, a small one in memory; where none can be mounted (that takes root), the tests are
skipped.
"""

import os
import re
import shutil
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest

from initopt_jax.engine.events import Checkpoint
from initopt_jax.engine.plan import Tile
from initopt_jax.errors import Interrupted
from initopt_jax.store import Store
from initopt_jax.studies.study import open_study

BLOCK = 4096
ENOUGH = 16 * 2**20


def mount(*arguments):
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False)
    return done.returncode == 0


@contextmanager
def mounted(place, *arguments):
    """A file system at `place` while the block runs."""
    place.mkdir(parents=True, exist_ok=True)
    if shutil.which("mount") is None or not mount(*arguments, place):
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], capture_output=True, check=True)


@pytest.fixture
def disk(tmp_path):
    """A disk of 16 MiB."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=16M", "tmpfs") as place:
        yield place


def leave_free(disk, size):
    """Fill the disk until so many bytes are left."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    if (fill := shutil.disk_usage(disk).free - size) > 0:
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, fill // BLOCK * BLOCK)


@pytest.fixture
def run(zygote, tiny_config, tmp_path):
    """Runs the tiny study; returns its exit status and what it said besides notes and progress."""

    def call(folder, *arguments, report="light"):
        log = tmp_path / "log"
        arguments = arguments or ("run", tiny_config, "--out", folder, "--devices", 1)
        status = zygote.live(folder, log, *arguments, report=report)
        said = log.with_suffix(".err").read_text()
        said = re.sub(r"^(note: |\d+/\d+ lanes, ).*\n", "", said, flags=re.M)
        assert "Traceback" not in said, said
        return status, said

    return call


def phase(folder):
    """How far a study came: laying its files, training, reporting, or all done."""
    if not (folder / "manifest.json").exists():
        return "laying"
    if '"status": "done"' not in (folder / "manifest.json").read_text():
        return "training"
    return "done" if (folder / "report.html").exists() else "reporting"


@pytest.mark.slow
def test_disk_that_is_full_at_any_moment(
    run, disk, tiny_config, tmp_path, assert_same_as_undisturbed
):
    """A little more room at every try, until the study fits."""
    config = tmp_path / "without_checkpoints.yaml"
    config.write_text(tiny_config.read_text().replace("1.0e-06", "30"))
    assert "checkpoint_every: 30" in config.read_text()
    study, stopped_while = disk / "study", set()
    for size in (*range(3 * BLOCK, 40 * BLOCK, 5 * BLOCK), 2**20, 2**22, ENOUGH):
        leave_free(disk, size - sum(path.stat().st_blocks * 512 for path in study.rglob("*")))
        status, said = run(study, "run", config, "--out", study, "--devices", 1, report="full")
        if status == 0:
            break
        assert status == 3, said
        assert re.search(r"^stopped: no space left for .*run the same command again$", said, re.M)
        assert said.count("\n") == 1, said
        stopped_while.add(phase(study))
    assert stopped_while == {"laying", "training", "reporting"}
    assert phase(study) == "done"
    assert_same_as_undisturbed(study)


def test_disk_too_full_for_a_checkpoint(run, disk, assert_same_as_undisturbed):
    leave_free(disk, 300_000)
    status, said = run(disk / "study")
    assert status == 3
    assert said.startswith("stopped: no space left for")
    assert phase(disk / "study") == "training"
    leave_free(disk, ENOUGH)
    assert run(disk / "study")[0] == 0
    assert_same_as_undisturbed(disk / "study")


# TensorStore's threads look for an event loop that the error has closed: it says so, and no more.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_disk_that_fills_while_orbax_writes(disk, monkeypatch):
    monkeypatch.setattr("initopt_jax.store.checkpoints.OVERHEAD_BYTES", -(2**30))
    monkeypatch.setattr(Store, "_study", lambda store: "of no study")
    store, tile = Store(disk / "study"), Tile(0, program=0, steps=10, lanes=np.array([0]))
    weights = np.random.default_rng(0).standard_normal(30_000).astype(np.float32)
    old = Checkpoint(10, [weights], {}, np.float32([0]))
    store.save_checkpoint(tile, old)
    for size in (0, 2 * BLOCK, 6 * BLOCK, 12 * BLOCK, 24 * BLOCK):
        leave_free(disk, size)
        with pytest.raises(Interrupted, match="no space left"):
            store.save_checkpoint(tile, old._replace(step=20))
        loaded = Store(disk / "study").load_checkpoint(tile)
        assert loaded is not None
        assert loaded.step == 10, "the older one was given up before the new one was whole"
        assert loaded.leaves[0].tobytes() == weights.tobytes()
    leave_free(disk, ENOUGH)
    store.save_checkpoint(tile, old._replace(step=20))
    assert [path.name for path in (disk / "study" / "checkpoints" / "tile-000000").iterdir()] == [
        "20"
    ]


def test_folder_that_may_not_be_written_to(run, disk, undisturbed):
    shutil.copytree(undisturbed, disk / "study")
    assert mount("-o", "remount,ro", disk)
    status, said = run(disk / "new")
    assert status == 2
    assert said.startswith("error: cannot write to")
    assert "Read-only file system" in said
    assert [path.name for path in disk.iterdir()] == ["study"]
    status, said = run(disk / "study", "report", disk / "study")
    assert status == 2
    assert "Read-only file system" in said
    assert len(open_study(disk / "study").summary()) == 1, "reading is another matter"


@pytest.mark.parametrize("part", ["results.zarr", "checkpoints"])
def test_folder_that_turns_read_only_midway(run, disk, part, assert_same_as_undisturbed):
    study = disk / "study"
    leave_free(disk, 300_000)
    assert run(study)[0] == 3
    leave_free(disk, ENOUGH)
    place = study / part
    with mounted(place, "--bind", place):
        assert mount("-o", "remount,bind,ro", place)
        status, said = run(study)
        assert status == 2
        assert said.startswith("error: cannot write to")
        assert "run the same command again once that is mended" in said
    assert run(study)[0] == 0
    assert_same_as_undisturbed(study)
