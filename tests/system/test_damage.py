"""Damage to a study that is complete: refused in one line, then redone to the same bytes."""

import json
import shutil

import pytest
import xarray as xr

from initopt_jax.errors import StudyError
from initopt_jax.studies.study import open_study


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def garbage(path):
    path.write_bytes(b'\x00\xff\n{"tile": 0, "lanes": [[0, 2]], "crc": 1}\n[]\n' * 3)


def lose_a_line(path):
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if '"tile": 4,' not in line))


@pytest.fixture
def study(undisturbed, tmp_path):
    """A complete study of six tiles, to be damaged."""
    return shutil.copytree(undisturbed, tmp_path / "study")


@pytest.fixture
def initopt(zygote, tmp_path):
    """Runs a command; returns its exit status, what it said, and the tiles that it trained."""

    def call(folder, *arguments):
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        status = zygote.live(folder, log, *arguments)
        notes = [json.loads(line) for line in log.read_text().splitlines()]
        said = log.with_suffix(".err").read_text()
        assert "Traceback" not in said, said
        return status, said, {numbers[0] for word, *numbers in notes if word == "written"}

    return call


ALL = set(range(6))
ARRAYS, TILES = "6 of 6 tiles are damaged", "6 of 6 tiles are missing"
HEAD = "results.zarr/val_loss/zarr.json"
# Harms that one run redoes together, each after it was refused on its own; and what is trained.
CASES = {
    "rows": (
        [
            ("results.zarr/val_loss/c/0/0", remove, ARRAYS),
            ("results.zarr/step/c/0/0", flip, ARRAYS),
            ("results.zarr/weight_norm/c/0/0/0", cut, ARRAYS),
        ],
        ALL,
    ),
    "a head": ([(HEAD, remove, ARRAYS), ("lanes.csv", cut, "lanes.csv")], set()),
    "half a head": ([(HEAD, cut, ARRAYS), ("lanes.csv", flip, "lanes.csv")], set()),
    "an array": (
        [("results.zarr/val_loss", remove, ARRAYS), ("lanes.csv", remove, "lanes.csv")],
        ALL,
    ),
    "all arrays": ([("results.zarr", remove, ARRAYS)], ALL),
    "no journal": ([("journal.jsonl", remove, TILES)], ALL),
    "garbage": ([("journal.jsonl", garbage, TILES)], ALL),
    "a line": ([("journal.jsonl", lose_a_line, "1 of 6 tiles is missing")], {4}),
}


def restore(path, whole):
    """Put a file or a folder back."""
    if path.exists():
        remove(path)
    shutil.copytree(whole, path) if whole.is_dir() else shutil.copy(whole, path)


def assert_refused(study, message):
    """A report is one message, which says what to do, and nothing is written."""
    before = (study / "report.html").read_bytes()
    with pytest.raises(StudyError) as refused:
        open_study(study).report()
    said = str(refused.value)
    assert "\n" not in said
    assert message in said
    assert f"run the study again (initopt run CONFIG --out {study})" in said
    assert (study / "report.html").read_bytes() == before


@pytest.mark.parametrize("case", CASES)
def test_damage_is_refused_then_redone(
    initopt, study, undisturbed, tiny_config, assert_same_as_undisturbed, case
):
    harms, redone = CASES[case]
    for place, harm, message in harms:
        harm(study / place)
        assert_refused(study, message)
        restore(study / place, undisturbed / place)
    for place, harm, _ in harms:
        harm(study / place)
    status, said, trained = initopt(study, "run", tiny_config, "--out", study, "--devices", 1)
    assert status == 0, said
    assert trained == redone
    assert_same_as_undisturbed(study)
    open_study(study).report()


def test_the_command_says_it_in_one_line(initopt, study):
    flip(study / "results.zarr/step/c/0/0")
    status, said, _ = initopt(study, "report", study)
    assert status == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1, said
    assert ARRAYS in said


def test_manifest_cut_in_half_is_refused_then_rebuilt(
    initopt, study, tiny_config, assert_same_as_undisturbed
):
    cut(study / "manifest.json")
    for arguments in (("report", study), ("verify", study)):
        status, said, trained = initopt(study, *arguments)
        assert status == 2
        assert "manifest.json in" in said
        assert "is damaged" in said
        assert not trained
    status, said, trained = initopt(study, "run", tiny_config, "--out", study, "--devices", 1)
    assert status == 0, said
    assert not trained
    assert_same_as_undisturbed(study)


def test_what_describes_the_group_is_not_needed_to_read(initopt, study, tiny_config):
    cut(study / "results.zarr" / "zarr.json")
    assert initopt(study, "report", study)[0] == 0
    assert initopt(study, "run", tiny_config, "--out", study, "--devices", 1)[0] == 0
    assert xr.open_zarr(study / "results.zarr").sizes["lane"] == 12


def test_numbers_are_refused_in_python_as_well(study):
    flip(study / "results.zarr" / "val_loss" / "c" / "0" / "0")
    opened = open_study(study)
    assert opened.dataset["val_loss"].dims == ("lane", "eval"), "opened lazily, nothing is read"
    for ask in (opened.check, opened.summary, opened.frame, opened.report):
        with pytest.raises(RuntimeError, match=r"of 6 tiles (is|are) damaged"):
            ask()


def test_report_of_a_study_that_is_not_complete(
    zygote, initopt, study, tiny_config, tmp_path, assert_same_as_undisturbed
):
    arguments = ("run", tiny_config, "--out", tmp_path / "half", "--devices", 1)
    kill = {"save": 25, "delay": 0.01}
    assert zygote.live(tmp_path / "half", tmp_path / "log", *arguments, kill=kill) == -9
    status, said, _ = initopt(tmp_path / "half", "report", tmp_path / "half")
    assert status == 2
    assert "of 6 tiles are missing; run the study again" in said
    assert not (tmp_path / "half" / "summary.csv").exists()
    rows = open_study(tmp_path / "half").frame()
    assert 0 < rows["lane"].nunique() < 12
    assert rows["step"].notna().all()
    assert initopt(tmp_path / "half", *arguments)[0] == 0
    assert_same_as_undisturbed(tmp_path / "half")
