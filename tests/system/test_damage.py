"""Damage to a study that is complete: refused in one line, then redone to the same bytes."""

import json
import shutil

import pytest
import xarray as xr

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
CASES = [
    ("results.zarr/val_loss/c/0/0", remove, "6 of 6 tiles are damaged", ALL),
    ("results.zarr/step/c/0/0", flip, "6 of 6 tiles are damaged", ALL),
    ("results.zarr/weight_norm/c/0/0/0", cut, "6 of 6 tiles are damaged", ALL),
    ("results.zarr/val_loss/zarr.json", remove, "6 of 6 tiles are damaged", set()),
    ("results.zarr/val_loss/zarr.json", cut, "6 of 6 tiles are damaged", set()),
    ("results.zarr/val_loss", remove, "6 of 6 tiles are damaged", ALL),
    ("results.zarr", remove, "6 of 6 tiles are damaged", ALL),
    ("lanes.csv", remove, "lanes.csv", set()),
    ("lanes.csv", cut, "lanes.csv", set()),
    ("lanes.csv", flip, "lanes.csv", set()),
    ("journal.jsonl", remove, "6 of 6 tiles are missing", ALL),
    ("journal.jsonl", garbage, "6 of 6 tiles are missing", ALL),
    ("journal.jsonl", lose_a_line, "1 of 6 tiles is missing", {4}),
]


@pytest.mark.parametrize(("place", "harm", "message", "redone"), CASES)
def test_damage_is_refused_then_redone(
    initopt, study, tiny_config, assert_same_as_undisturbed, place, harm, message, redone
):
    harm(study / place)
    before = (study / "report.html").read_bytes()
    status, said, _ = initopt(study, "report", study)
    assert status == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1, said
    assert message in said
    assert f"run the study again (initopt run CONFIG --out {study})" in said
    assert (study / "report.html").read_bytes() == before
    status, said, trained = initopt(study, "run", tiny_config, "--out", study, "--devices", 1)
    assert status == 0, said
    assert trained == redone
    assert_same_as_undisturbed(study)
    assert initopt(study, "report", study)[0] == 0


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
