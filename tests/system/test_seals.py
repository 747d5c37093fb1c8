"""Whatever of a study's folder is damaged, edited or mixed up: named, made again, never shown."""

import json
import shutil
import zlib

import numpy as np
import pytest
import zarr

from initopt_jax.errors import StudyError
from initopt_jax.store import Store, results
from initopt_jax.studies.study import open_study

KERNEL = "kept_params.dense_0.kernel"
PICTURE = "landscapes=[{name: slice, points: 3}]"
MADE = ("summary.csv", "report.html", "landscapes.npz", "figures/learning_curves.png")


def flip(path, place=0.5, bit=4):
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= bit
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


@pytest.fixture(scope="session")
def two_studies(zygote, tiny_config, tmp_path_factory):
    """The tiny study with stored states and a picture, and the same with other seeds."""
    folder = tmp_path_factory.mktemp("two")
    for name, first in (("one", 0), ("other", 50)):
        settings = ("--set", "keep=every", "--set", PICTURE, "--set", f"seeds.first={first}")
        place = ("--out", folder / name, "--devices", 1)
        order = ("run", tiny_config, "--set", "seeds.all=5", *settings, *place)
        assert zygote.live(folder / name, folder / f"log-{name}", *order) == 0
    return folder / "one", folder / "other"


@pytest.fixture
def study(two_studies, tmp_path):
    return shutil.copytree(two_studies[0], tmp_path / "study")


@pytest.fixture
def other(two_studies):
    return two_studies[1]


@pytest.fixture
def run_again(zygote, tiny_config, tmp_path):
    """Runs a study again; returns its exit status, what it said, and the tiles that it trained."""

    def call(folder, *settings):
        log = tmp_path / "log"
        log.unlink(missing_ok=True)
        own = ("--set", "keep=every", "--set", PICTURE, "--set", "seeds.all=5")
        order = ("run", tiny_config, *own, *settings, "--out", folder, "--devices", 1)
        status = zygote.live(folder, log, *order)
        said = log.with_suffix(".err").read_text()
        assert "Traceback" not in said, said
        notes = [json.loads(line) for line in log.read_text().splitlines()]
        return status, said, {numbers[0] for word, *numbers in notes if word == "written"}

    return call


def shown(folder):
    """What a study shows of itself: numbers of all lanes, and the manifest."""
    study = open_study(folder)
    rows = {name: study.load()[name].to_numpy().tobytes() for name in study.dataset.data_vars}
    return rows, study.manifest, study.summary().to_csv()


def test_no_flipped_bit_of_the_manifest_is_shown(study):
    path = study / "manifest.json"
    whole, wanted = path.read_bytes(), open_study(study).manifest
    random = np.random.default_rng(0)
    refused = []
    for place in random.integers(0, 8 * len(whole), 500):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            assert open_study(study).manifest == wanted, "such as a capital in 1E-05"
        except StudyError as error:
            refused.append(str(error))
    assert len(refused) > 480
    assert all("manifest.json" in text for text in refused)
    assert all(f"initopt run CONFIG --out {study}" in text for text in refused)


@pytest.mark.parametrize("name", ["val_loss", KERNEL])
def test_rows_that_are_not_as_written_are_named(study, name):
    chunks = [path for path in (study / "results.zarr" / name / "c").rglob("*") if path.is_file()]
    for harm in (flip, lambda path: path.unlink()):
        harm(chunks[0])
        opened = open_study(study)
        look = {
            "val_loss": (opened.dataset["val_loss"].to_numpy, opened.summary, opened.frame),
            KERNEL: (opened.kept[KERNEL].to_numpy, opened.kept.load, opened.check),
        }
        for ask in look[name]:
            with pytest.raises(
                StudyError, match=rf"{name} of lanes \d+ to \d+.*initopt run CONFIG"
            ):
                ask()
        assert np.isfinite(opened.dataset["train_loss"]).all(), "what is whole can be read"


def test_a_lane_is_read_without_the_rows_of_others(study):
    array = zarr.open_array(study / "results.zarr" / KERNEL, mode="r+")
    value = array[5]
    array[5] = np.nextafter(value, np.float32(9))
    opened = open_study(study)
    whole = opened.params(0)
    assert np.isfinite(whole["dense_0"]["kernel"]).all()
    for ask in (lambda: opened.params(4), lambda: opened.probe("weight_norm", lanes=[5])):
        with pytest.raises(StudyError, match=f"{KERNEL} of lanes 4 to 5;"):
            ask()
    array[5] = value
    assert np.array_equal(opened.params(5)["dense_0"]["kernel"], value[-1])


def test_a_report_reads_each_row_once_and_no_stored_state(study, monkeypatch):
    read, plain = [], results._read
    monkeypatch.setattr(
        results,
        "_read",
        lambda array, *place: read.append((str(array.store_path), place)) or plain(array, *place),
    )
    opened = open_study(study)
    opened.report()
    opened.summary()
    assert len(read) == len(set(read)) == len(opened.dataset.data_vars)
    opened.check()
    assert len(read) == len(set(read)), "what was verified is not read again to verify it"


def test_lines_of_the_journal_count_as_they_were_written_or_not_at_all(study):
    path, wanted = study / "journal.jsonl", shown(study)
    whole = path.read_bytes()
    random, refused = np.random.default_rng(1), []
    for place in random.integers(0, 8 * len(whole), 25):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            assert shown(study) == wanted
        except StudyError as error:
            refused.append(str(error))
    assert refused
    assert all("1 of 6 tiles is missing" in text for text in refused)


@pytest.mark.parametrize("name", MADE)
def test_made_files_are_made_again(study, other, name):
    path = study / name
    whole = path.read_bytes()
    harms = {
        "flip": flip,
        "cut": cut,
        "other's": lambda path: shutil.copy(other / name, path),
        "gone": lambda path: path.unlink(),
    }
    for harm in harms.values():
        path.write_bytes(whole)
        harm(path)
        if name == "landscapes.npz":
            with pytest.raises(StudyError, match=r"landscapes\.npz .*which makes it anew"):
                _ = open_study(study).landscapes
        else:
            assert Store(study)._made().altered() == [name]
            open_study(study).report()
            assert path.read_bytes() == whole
            assert not Store(study)._made().altered()


def test_what_is_mixed_up_is_told_and_made_again_by_a_run(study, other, run_again):
    whole = {name: (study / name).read_bytes() for name in MADE}
    for name in MADE:
        shutil.copy(other / name, study / name)
    status, said, trained = run_again(study)
    assert status == 0
    assert not trained
    assert "note: figures/learning_curves.png, landscapes.npz, report.html and 1 more: " in said
    assert "or of another study; made anew" in said
    for name in ("summary.csv", "landscapes.npz"):
        assert (study / name).read_bytes() == whole[name], name
    assert run_again(study)[1].count("note: ") == said.count("note: ") - 1


def edit(path):
    path.write_text(path.read_text().replace('"batch_size": 8', '"batch_size": 9'))


HARM = {
    "gone": lambda path: path.unlink(),
    "cut": cut,
    "flipped": flip,
    "edited": edit,
    "another's": None,
}


def test_manifest_is_rebuilt_from_its_copy(study, other, run_again):
    path, before = study / "manifest.json", shown(study)
    whole = path.read_bytes()
    for harm in HARM.values():
        path.write_bytes(whole)
        if harm:
            harm(path)
        else:
            shutil.copy(other / "manifest.json", path)
        with pytest.raises(StudyError, match=r"manifest\.json .*makes it anew") as refused:
            open_study(study)
        if harm is edit:
            assert "edited by hand" in str(refused.value)
            assert "batch_size: 8 -> 9" in str(refused.value)
        status, said, trained = run_again(study)
        assert status == 0, said
        assert not trained
        assert "manifest.json was made anew" in said
        assert shown(study) == before


def test_a_rebuilt_manifest_is_held_to_the_config(study, run_again):
    (study / "manifest.json").unlink()
    status, said, _ = run_again(study, "--set", "task.batch_size=4")
    assert status == 2
    assert "task.batch_size: 8 -> 4" in said, "rows are not taken for those of another config"


def test_manifest_and_copy_that_are_both_gone(study, run_again):
    (study / "manifest.json").unlink()
    (study / "journal.jsonl").write_text(
        "\n".join((study / "journal.jsonl").read_text().split("\n")[4:6])
    )
    status, said, _ = run_again(study)
    assert status == 2
    assert "choose another folder" in said
    assert "remove" not in said


def as_format_2(folder):
    """The folder as an earlier version would have left it."""
    store = Store(folder)
    manifest = store.manifest()
    entries = store._journal.entries(manifest["study"], manifest["lanes"])
    lines = []
    for number, entry in entries.items():
        crc = 0
        for name in manifest["variables"]:
            rows = zarr.open_array(folder / "results.zarr" / name, mode="r")[:][entry.lanes]
            crc = zlib.crc32(rows.tobytes(), crc)
        lanes = [[int(entry.lanes[0]), int(entry.lanes[-1]) + 1]]
        lines.append(json.dumps({"tile": number, "lanes": lanes, "crc": crc, "seconds": 0.1}))
    (folder / "journal.jsonl").write_text("\n".join(lines))
    for name in ("study", "layout", "seal"):
        manifest.pop(name)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    (folder / "seals.json").unlink()
    del zarr.open_group(folder / "results.zarr").attrs["study"]


def test_folder_of_before_the_seals(study, run_again, caplog):
    before = shown(study)
    as_format_2(study)
    rows, _, summary = shown(study)
    assert (rows, summary) == (before[0], before[2])
    assert caplog.text.count("has no seals") == 1
    assert np.isfinite(open_study(study).params(3)["dense_0"]["kernel"]).all()
    open_study(study).report()
    status, said, trained = run_again(study)
    assert status == 0, said
    assert not trained
    assert open_study(study).manifest["format"] == 3
    assert shown(study)[0] == before[0]
    assert "no seals" not in run_again(study)[1]


def test_damage_in_a_folder_of_before_the_seals(study):
    as_format_2(study)
    flip(study / "results.zarr" / "val_loss" / "c" / "0" / "0")
    with pytest.raises(StudyError, match="1 of 6 tiles is damaged"):
        open_study(study).report()
