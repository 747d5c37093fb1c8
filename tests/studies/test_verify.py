"""Verification: the same bits from anywhere, and in words what stands against them."""

import dataclasses
import json
import shutil
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest
import yaml
import zarr

import initopt_jax as iox
from initopt_jax.cli import show
from initopt_jax.lookup import user_files
from initopt_jax.store import Store
from initopt_jax.studies import manifest as manifests
from initopt_jax.studies.compare_bits import Mismatch, rank, ulp_distance
from initopt_jax.studies.preview import initial_weights, prepare
from initopt_jax.studies.verify import Gap, Verification, verify

LANES = 8

MINE = """
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from parts import scales

SEED = 0


class Net(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, inputs):
        from parts.shapes import WIDTH  # found while training, too
        return nn.Dense(self.outputs)(nn.tanh(nn.Dense(WIDTH)(inputs)))


def spread(key, shape, dtype=jnp.float32, *, scale=1.0):
    return scales.make(key, shape, dtype) * scale


def blobs():
    generator = np.random.default_rng(SEED)
    labels = generator.integers(0, 3, 90)
    return 4 * generator.standard_normal((3, 5))[labels] + generator.random((90, 5)), labels
"""
SCALES = """
import jax

WIDE = 0.25

def make(key, shape, dtype):
    return WIDE * jax.random.normal(key, shape, dtype)
"""
CONFIG = {
    "name": "own",
    "task": {"name": "classification", "dataset": "mine:blobs", "batch_size": 9},
    "model": {"name": "mine:Net"},
    "initializers": [{"name": "mine:spread", "scale": [0.5, 1.0]}],
    "optimizers": [
        {"name": "sgd", "learning_rate": 0.1, "steps": 6, "eval_every": 2},
        {"name": "gd", "learning_rate": 0.1, "steps": 2, "eval_every": 1},
    ],
    "seeds": 2,
    "tuning": {"seeds": 0},
    "tile_width": 2,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A project of the user's own: files, config, and its study under `runs`, made once."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "mine.py").write_text(MINE)
    (folder / "parts").mkdir()
    (folder / "parts" / "__init__.py").write_text("")
    (folder / "parts" / "scales.py").write_text(SCALES)
    (folder / "parts" / "shapes.py").write_text("WIDTH = 4\n")
    (folder / "own.yaml").write_text(yaml.safe_dump(CONFIG))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("initopt_jax.store.results.CHUNK_LANES", 4)
        assert len(iox.run("own.yaml").lanes) == LANES
    return folder


@pytest.fixture
def project(finished, tmp_path, monkeypatch):
    """A copy of the project, elsewhere; the current folder is yet another one."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return shutil.copytree(finished, tmp_path / "moved")


@pytest.fixture
def study(project):
    return project / "runs" / "own"


def change_manifest(study, change):
    """As another version or machine would have written it: with a seal."""
    store = Store(study)
    manifest = store.manifest()
    change(manifest)
    store.write_manifest(manifest)


def stored(study, name):
    return zarr.open_array(study / "results.zarr" / name, mode="r+")


def change_text(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def shown(outcome, capsys):
    show.verification(outcome)
    return capsys.readouterr().out


def unfinish(study):
    """Take the last tile out of the journal and its rows out of the results."""
    journal = study / "journal.jsonl"
    entries = [json.loads(line) for line in journal.read_text().split("\n") if line]
    left = [entry for entry in entries if entry.get("tile") != 3]
    assert len(left) == len(entries) - 1
    journal.write_text("".join(json.dumps(entry) + "\n" for entry in left))
    for name in (path.name for path in (study / "results.zarr").iterdir() if path.is_dir()):
        array = stored(study, name)
        array[6:8] = False if array.dtype == bool else np.nan
    change_manifest(study, lambda manifest: manifest.update(status="stopped"))


def test_fresh_process_elsewhere_finds_the_users_files(study, tmp_path, subprocess_environment):
    outcome = subprocess.run(
        [
            sys.executable,
            "-c",
            "from initopt_jax.cli import main; main()",
            "verify",
            str(study),
        ],
        cwd=tmp_path / "elsewhere",
        env=subprocess_environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert outcome.stdout.splitlines() == ["8 of 8 lanes: bit-identical"]


def test_manifest_names_every_file_of_the_users_own(study, project):
    recorded = json.loads((study / "manifest.json").read_text())["sources"]
    assert {name: entry["file"] for name, entry in recorded.items()} == {
        "mine": "../../mine.py",
        "parts": "../../parts/__init__.py",
        "parts.scales": "../../parts/scales.py",
        "parts.shapes": "../../parts/shapes.py",
    }
    assert all(len(entry["sha256"]) == 64 for entry in recorded.values())
    assert user_files.folders(recorded, study) == [project]


def test_changed_file_is_named_whether_or_not_it_changes_bits(study, project, capsys):
    """The copy's files are read, not those of the folder where the study was made."""
    with (project / "mine.py").open("a") as file:
        file.write("# a remark\n")
    with pytest.raises(iox.StudyError, match=r"not that of the study: sources\.mine: .*--trust"):
        verify(study, sample=2)
    outcome = verify(study, sample=2, trust=True)
    assert outcome.exit_code == 0
    assert [text.partition(" (")[0] for text in outcome.obstacles] == [
        "sources.mine: the file has changed since"
    ]
    change_text(project / "parts" / "scales.py", "0.25", "0.2500001")
    outcome = verify(study, trust=True)
    assert outcome.exit_code == 2
    assert len(outcome.mismatches) == LANES
    assert {item.step for item in outcome.mismatches} == {0.0}
    worst = {row.variable: row for row in outcome.distances}
    assert 0 < worst["val_loss"].relative < 1e-3
    assert worst["val_loss"].first_step == 0
    assert worst["test_loss"].first_step is None
    text = shown(outcome, capsys)
    assert "run elsewhere: sources.parts.scales: the file has changed since" in text
    assert "largest relative, at the end" in text
    assert "cannot be expected" in text
    assert text.splitlines()[-1] == "0 of 8 lanes: bit-identical"


def test_changed_data_are_refused_with_what_differs(study, project):
    change_text(project / "mine.py", "SEED = 0", "SEED = 11")
    with pytest.raises(iox.StudyError, match=r"dataset\.fingerprint: .*; sources\.mine: the file"):
        verify(study, trust=True)


def test_changed_model_is_refused_with_what_differs(study, project):
    change_text(project / "mine.py", "nn.tanh(nn.Dense(WIDTH)(inputs))", "inputs")
    with pytest.raises(iox.StudyError, match=r"the model is not that of the study.*sources\.mine"):
        verify(study, trust=True)


def test_file_that_is_gone_or_broken_is_named(study, project):
    (project / "parts" / "scales.py").write_text("import no_such_thing\n")
    with pytest.raises(iox.StudyError, match=r"no_such_thing.*sources\.parts\.scales: the file"):
        verify(study, trust=True)
    (project / "mine.py").unlink()
    with pytest.raises(iox.StudyError, match=r"sources\.mine: \.\./\.\./mine\.py is not there"):
        verify(study, trust=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [("def spread(:\n", "importing it failed: SyntaxError"), ("open('no.csv')\n", "no\\.csv")],
)
def test_broken_file_is_told_in_words(study, project, text, message):
    (project / "mine.py").write_text(text)
    with pytest.raises(
        iox.StudyError, match=f"(?s){message}.*sources\\.mine: the file has changed"
    ):
        verify(study, trust=True)
    with pytest.raises(iox.ConfigError, match=message):
        iox.run(project / "own.yaml", project / "new")


def test_data_file_that_is_not_here_is_told_in_words(study, project):
    change_text(project / "mine.py", "generator = np", "open('no.csv')\n    generator = np")
    with pytest.raises(iox.StudyError, match=r"cannot be set up here: .*no\.csv.*sources\.mine"):
        verify(study, trust=True)


def test_data_that_are_not_prepared_here_are_refused(study, monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "nothing"))
    change_manifest(
        study, lambda m: m["config"]["task"].update(dataset={"name": "tfds:mnist", "limit": 64})
    )
    with pytest.raises(iox.StudyError, match=r"cannot be set up here: .*mnist"):
        verify(study, trust=True)


def test_study_resumes_from_elsewhere_but_not_with_other_files(study, project):
    unfinish(study)
    change_text(project / "parts" / "scales.py", "0.25", "0.125")
    with pytest.raises(iox.StudyError, match=r"sources\.parts\.scales: the file has changed since"):
        iox.run(CONFIG, study)
    change_text(project / "parts" / "scales.py", "0.125", "0.25")
    resumed = iox.run(CONFIG, study)
    assert resumed.manifest["status"] == "done"
    assert verify(study).exit_code == 0


def test_unfinished_study_is_verified_as_far_as_it_goes(study, capsys):
    unfinish(study)
    outcome = verify(study)
    assert outcome.lanes == (0, 1, 2, 3, 4, 5)
    assert not outcome.mismatches
    assert [gap.lanes for gap in outcome.gaps] == [(6, 7)]
    assert outcome.exit_code == 2
    text = shown(outcome, capsys).splitlines()
    assert text[0].startswith("lanes 6, 7: not there: the study is not finished")
    assert text[-1] == "6 of 6 lanes: bit-identical; 2 more could not be compared"
    sample = verify(study, sample=3)
    assert sample.exit_code == 0
    assert len(sample.lanes) == 3
    assert not set(sample.lanes) & {6, 7}
    assert verify(study, lanes=[5]).exit_code == 0
    with pytest.raises(iox.StudyError, match=r"lanes 6: not there.* 6 that are: 0, 1, 2, 3, 4, 5"):
        verify(study, lanes=[5, 6])


def test_study_without_a_finished_tile_cannot_be_verified(study):
    unfinish(study)
    (study / "journal.jsonl").write_text("")
    with pytest.raises(iox.StudyError, match="no lane is there yet"):
        verify(study)


def test_first_difference_is_told_with_its_distance(study, capsys):
    """Of several changed values the earliest counts, and of one step the one that others follow."""
    for name, lane, evaluation in (("val_loss", 1, 2), ("train_loss", 1, 2), ("train_loss", 1, 3)):
        array = stored(study, name)
        array[lane, evaluation] = np.nextafter(array[lane, evaluation], np.float32(9))
    array = stored(study, "weight_norm")
    array[2, 1, 3] = array[2, 1, 3] * np.float32(1.5)
    array = stored(study, "test_loss")
    array[3] = array[3] + np.float32(1)
    stored(study, "val_loss")[6, 3] = 1.0  # full-batch descent: behind its three evaluations
    outcome = verify(study)
    assert outcome.exit_code == 1
    first, norm, test, behind = outcome.mismatches
    assert (first.lane, first.variable, first.step, first.ulp_distance) == (1, "train_loss", 4.0, 1)
    assert first.absolute == abs(first.stored - first.again) > 0
    assert first.relative == first.absolute / first.stored
    assert (norm.lane, norm.variable, norm.step) == (2, "weight_norm", 2.0)
    assert norm.entry == "Dense_1/kernel"
    assert norm.relative == pytest.approx(1 / 3)
    assert (test.lane, test.variable, test.step) == (3, "test_loss", None)
    assert test.absolute == pytest.approx(1)
    assert (behind.lane, behind.entry) == (6, "behind its last evaluation")
    assert outcome.altered == (0, 1, 2, 3, 6, 7)
    lines = shown(outcome, capsys).splitlines()
    assert lines[0].startswith("lane 1: train_loss differs first at step 4: stored ")
    assert lines[0].endswith(", 1 units in the last place")
    assert "weight_norm (Dense_1/kernel) differs first at step 2" in lines[1]
    assert "do not match the checksum" in lines[-2]
    assert lines[-1] == "4 of 8 lanes: bit-identical"


def test_another_version_is_an_obstacle_only_to_what_differs(study, capsys):
    change_manifest(study, lambda m: m["versions"].update(jax="0.0.1"))
    assert verify(study, sample=2).exit_code == 0
    array = stored(study, "val_loss")
    array[0, 3] = 2 * array[0, 3]
    outcome = verify(study, lanes=[0, 1])
    assert outcome.exit_code == 2
    (distance,) = outcome.distances
    assert (distance.variable, distance.relative, distance.lane) == ("val_loss", 0.5, 0)
    assert (distance.lanes, distance.first_step) == (1, 6.0)
    text = shown(outcome, capsys)
    assert "run elsewhere: versions.jax: '0.0.1' -> " in text
    assert "the same bits cannot be expected here" in text


def test_older_manifest_without_the_new_keys_is_read(study):
    def forget(manifest):
        for key in ("processor", "settings", "compiler_options", "sources"):
            del manifest[key]

    change_manifest(study, forget)
    (study.parents[1] / "elsewhere").mkdir()
    sys.path.insert(0, str(study.parents[1]))  # an older study does not say where its files are
    try:
        outcome = verify(study, sample=2, trust=True)
    finally:
        sys.path.pop(0)
    assert outcome.exit_code == 0
    told = [text.partition(":")[0] for text in outcome.obstacles]
    assert told == ["processor", "compiler_options", "settings", "sources"]


def test_damaged_manifest_is_refused(study):
    change_manifest(study, lambda m: m.pop("config"))
    with pytest.raises(iox.StudyError, match=r"manifest .* is damaged: .*config"):
        verify(study)


def chunk_of_last_lanes(study, name):
    (chunk,) = (study / "results.zarr" / name / "c" / "1").rglob("0")
    return chunk


def test_damaged_chunk_leaves_the_other_lanes_verifiable(study, capsys):
    chunk = chunk_of_last_lanes(study, "val_loss")
    chunk.write_bytes(chunk.read_bytes()[:7])
    outcome = verify(study)
    assert outcome.lanes == (0, 1, 2, 3)
    assert outcome.gaps == (Gap("damaged: val_loss cannot be read", (4, 5, 6, 7)),)
    assert outcome.exit_code == 2
    assert "lanes 4, 5, 6, 7: damaged: val_loss cannot be read" in shown(outcome, capsys)
    with pytest.raises(iox.StudyError, match="lanes 5: damaged: val_loss cannot be read"):
        verify(study, lanes=[1, 5])
    assert verify(study, lanes=[1]).exit_code == 0


def test_lost_chunk_is_no_mismatch(study):
    chunk_of_last_lanes(study, "val_loss").unlink()
    outcome = verify(study)
    assert not outcome.mismatches
    assert outcome.gaps == (Gap("damaged: val_loss is empty", (4, 5, 6, 7)),)


def test_lost_variable_is_told(study):
    shutil.rmtree(study / "results.zarr" / "val_loss")
    with pytest.raises(iox.StudyError, match=r"results\.zarr.*lacks val_loss"):
        verify(study, sample=1)


def test_lane_table_that_does_not_fit_is_refused(study):
    change_text(study / "lanes.csv", "0.1", "0.2")
    with pytest.raises(iox.StudyError, match=r"lanes\.csv.*was altered"):
        verify(study)
    table = zlib.crc32((study / "lanes.csv").read_bytes())
    change_manifest(study, lambda manifest: manifest.update(lanes_crc=table))
    with pytest.raises(iox.StudyError, match=r"'optimizer\.learning_rate' of lanes\.csv"):
        verify(study)


def test_many_mismatches_end_with_their_number(capsys):
    one = Mismatch(0, "val_loss", "", 5.0, 1.0, 2.0, 1.0, 0.5, 8388608)
    many = tuple(dataclasses.replace(one, lane=lane) for lane in range(25))
    outcome = Verification(tuple(range(30)), many, (), (), (), ())
    lines = shown(outcome, capsys).splitlines()
    assert len(lines) == 20 + 2
    assert lines[-2:] == ["and 5 more lanes", "5 of 30 lanes: bit-identical"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1.0, np.nextafter(np.float32(1), np.float32(0)), 1),
        (0.0, -0.0, 0),
        (np.float32(1e-45), np.float32(-1e-45), 2),
        (1.0, 2.0, 2**23),
        (np.inf, np.finfo(np.float32).max, 1),
        (np.nan, 1.0, None),
    ],
)
def test_units_in_the_last_place(old, new, expected):
    assert ulp_distance(np.float32(old), np.float32(new)) == expected
    assert ulp_distance(np.float32(new), np.float32(old)) == expected


def test_training_comes_before_what_is_measured_of_it():
    names = ["steps_to_target", "test_loss", "val_loss", "weight_norm", "train_loss", "batch_loss"]
    assert sorted(names, key=rank) == names[::-1]


def test_another_processor_or_setting_is_told_by_what_differs(study, monkeypatch):
    monkeypatch.setenv(
        "XLA_FLAGS", "--xla_cpu_max_isa=AVX --xla_force_host_platform_device_count=2"
    )
    assert manifests.settings()["XLA_FLAGS"] == "--xla_cpu_max_isa=AVX"

    def elsewhere(manifest):
        manifest["processor"]["model"] = "Slow 1"
        manifest["processor"]["vector"].append("avx9")
        manifest["settings"]["jax_threefry_partitionable"] = "old"

    change_manifest(study, elsewhere)
    told = verify(study, sample=1).obstacles
    assert told[0].startswith("processor.model: 'Slow 1' -> ")
    assert told[1] == "processor.vector: not here: avx9"
    assert told[2] == "settings.jax_threefry_partitionable: 'old' -> True"
    assert told[3] == "settings.XLA_FLAGS: None -> '--xla_cpu_max_isa=AVX'"


def test_edited_file_is_imported_anew(working_dir):
    """One process, two texts of one name: what runs is what is recorded."""
    config = CONFIG | {"model": "linear", "initializers": ["twice:draw"]}
    config["task"] = {"name": "classification", "dataset": "digits", "batch_size": 64}
    hashes = set()
    for value in (1, 2):
        (working_dir / "twice.py").write_text(
            "import numpy as np\n"
            f"def draw(key, shape, dtype):\n    return {value} * np.ones(shape, dtype)\n"
        )
        experiment = prepare(config)
        hashes.add(experiment.sources["twice"].sha256)
        assert (initial_weights(experiment)(0, 0)["dense_0"]["kernel"] == value).all()
    assert len(hashes) == 2
    assert not list(working_dir.rglob("*.pyc")), "bytecode could hide a change"


def test_sources_follow_imports_but_not_into_packages(working_dir, monkeypatch):
    folder = working_dir / "lab"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "one.py").write_text(
        "import json\nimport numpy as np\nfrom . import two\nfrom .three import x\n"
    )
    (folder / "two.py").write_text("def f():\n    import optax\n    import lone\n")
    (folder / "three.py").write_text("x = 1\n")
    (working_dir / "lone.py").write_text("")
    (working_dir / "stranger.py").write_text("")
    monkeypatch.syspath_prepend(working_dir)
    import lab.one  # noqa: F401

    found = user_files.collect(["lab.one", "optax.contrib"])
    assert {name for name, source in found.items() if not source.installed} == {
        "lab", "lab.one", "lab.two", "lab.three", "lone",
    }  # fmt: skip
    assert found["optax.contrib"].installed
    assert set(found) == {"lab", "lab.one", "lab.two", "lab.three", "lone", "optax.contrib"}
    assert user_files.roots(found) == [working_dir.resolve()]
    user_files.forget(["lab.one"])
    assert "lab.two" not in sys.modules
    assert "json" in sys.modules


def test_file_outside_the_current_folder_is_recorded_as_it_stands(tmp_path, monkeypatch):
    (tmp_path / "far").mkdir()
    (tmp_path / "here").mkdir()
    file = tmp_path / "far" / "distant.py"
    file.write_text(textwrap.dedent("x = 1\n"))
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(tmp_path / "far")
    recorded = user_files.to_json(
        user_files.collect(["distant"]), tmp_path / "here" / "runs" / "own"
    )
    assert recorded["distant"]["file"] == file.as_posix()
    assert user_files.changed_files(recorded, tmp_path / "here") == []
    assert user_files.folders(recorded, tmp_path) == [tmp_path / "far"]
