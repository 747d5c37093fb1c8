"""The command line as its users meet it: other processes, exit codes, kills and resumes."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from initopt_jax.cli import main
from initopt_jax.store import Store

COMMAND = [sys.executable, "-c", "from initopt_jax.cli import main; main()"]


@pytest.fixture
def initopt(working_dir, subprocess_environment):
    """Runs `initopt ...` in an empty folder; returns the finished process."""

    def call(*arguments, **options):
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            cwd=working_dir,
            env=subprocess_environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            **options,
        )

    return call


@pytest.fixture
def here(working_dir, monkeypatch, capsys):
    """Runs `initopt ...` in this process, which has JAX at hand; as the finished process."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["initopt", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, said.out, said.err)

    return call


@pytest.fixture
def config_file(working_dir, small_config):
    """The small study as a file."""
    path = working_dir / "small.yaml"
    path.write_text(yaml.safe_dump(small_config))
    return path


def results(folder):
    data = xr.open_zarr(folder / "results.zarr", consolidated=False, chunks=None).load()
    return {name: data[name].to_numpy().tobytes() for name in data.data_vars}


def test_a_study_from_its_first_run_to_its_verification(initopt, here, config_file, working_dir):
    """Run, look at what was written, run again, report again, verify, tamper, verify."""
    ran = initopt("run", config_file)
    assert ran.returncode == 0, ran.stderr
    folder = working_dir / "runs" / "small"
    assert ran.stdout.strip().splitlines()[-1] == str(Path("runs", "small", "report.html"))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["status"] == "done"
    assert manifest["lanes"] == 28
    assert manifest["tile_width"] == 4
    assert all(program["compiled"] >= 1 for program in manifest["programs"])
    assert (folder / "report.html").read_text().count("<html") == 1
    figures = sorted((folder / "figures").iterdir())
    assert {path.suffix for path in figures} == {".png", ".pdf"}
    assert all(path.stat().st_size > 5000 for path in figures)
    assert len((folder / "lanes.csv").read_text().splitlines()) == 29
    assert not (folder / "checkpoints").exists()
    before = results(folder)

    began = time.time()
    again = initopt("run", config_file)
    assert again.returncode == 0
    assert (folder / "report.html").stat().st_mtime < began, "a finished study is left alone"
    assert results(folder) == before

    changed = here("run", config_file, "--set", "steps=40")
    assert changed.returncode == 2
    assert "steps: 20 -> 40" in changed.stderr

    (folder / "summary.csv").unlink()
    assert here("report", folder).returncode == 0
    assert (folder / "summary.csv").stat().st_size > 0

    same = initopt("verify", folder, "--sample", 6)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "6 of 6 lanes: bit-identical" in same.stdout

    import zarr

    array = zarr.open_array(folder / "results.zarr" / "val_loss", mode="r+")
    array[3, 2] = np.nextafter(array[3, 2], np.float32(1))
    differs = here("verify", folder, "--lane", 3)
    assert differs.returncode == 1
    assert "lane 3: val_loss differs first at step 10" in differs.stdout

    original = (folder / "manifest.json").read_text()
    manifest["versions"]["jax"] = "0.0.1"
    Store(folder).write_manifest(manifest)  # with a seal, as one of elsewhere has
    elsewhere = here("verify", folder, "--lane", 3)
    assert elsewhere.returncode == 2
    assert "versions.jax" in elsewhere.stdout
    mixed = here("run", config_file)
    assert mixed.returncode == 2, "a tile redone elsewhere does not match its neighbours"
    assert "begun elsewhere" in mixed.stderr

    (folder / "manifest.json").write_text(original)
    damaged = here("report", folder)
    assert damaged.returncode == 2
    assert "1 of 7 tiles is damaged (val_loss of lanes" in damaged.stderr
    repaired = here("run", config_file)
    assert repaired.returncode == 0, repaired.stderr
    assert results(folder) == before, "the damaged tile was not found and redone"


def test_dry_run_and_audit_create_nothing(here, config_file, working_dir):
    dry = here("run", config_file, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "28 lanes in 7 tiles" in dry.stdout
    audit = here("audit", config_file)
    assert audit.returncode == 0
    assert "dense_1/kernel" in audit.stdout
    assert [path.name for path in working_dir.iterdir()] == ["small.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.yaml"], "cannot read the config 'nowhere.yaml'"),
        (["run", "small.yaml", "--set", "seeds=0"], "seeds"),
        (["run", "small.yaml", "--set", "initializers.0=he_norml"], "did you mean 'he_normal'"),
        (["run", "small.yaml", "--set", "task.dataset=tfds:no_such_set"], "no_such_set"),
        (["run", "small.yaml", "--set", "steps=21", "--out", "deep/er"], "eval_every 5"),
        (["run", "small.yaml", "--out", "."], "not a study folder and not empty"),
        (["report", "."], "not a study folder"),
        (["verify", "."], "not a study folder"),
        (["list", "optimisers"], "unknown kind 'optimisers'"),
        (["run", "small.yaml", "--devices", "0"], "devices"),
        (["rnu", "small.yaml"], "rnu"),
    ],
)
def test_mistakes_end_with_one_message_and_code_2(
    here, config_file, working_dir, arguments, message
):
    ended = here(*arguments)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [path.name for path in working_dir.iterdir()] == ["small.yaml"]


def test_failed_audit_ends_with_code_1(here, config_file, working_dir):
    (working_dir / "mine.py").write_text(
        "import jax.numpy as jnp\n"
        "from initopt_jax.types import DistributionSpec\n"
        "def wrong(key, shape, dtype=jnp.float32):\n"
        "    return jnp.zeros(shape, dtype)\n"
        "wrong.distribution = lambda shape: DistributionSpec('normal', std=1.0)\n"
    )
    outcome = here("run", config_file, "--set", "initializers.0=mine:wrong")
    assert outcome.returncode == 1
    assert "missed" in outcome.stderr
    assert "dense_0/kernel" in outcome.stderr
    assert not (working_dir / "runs").exists()


def test_help_needs_no_jax(subprocess_environment):
    code = (
        "import sys\nsys.argv = ['initopt', '--help']\n"
        "from initopt_jax.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        "heavy = {'jax', 'pandas', 'xarray', 'matplotlib', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else code)\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], env=subprocess_environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    assert "verify" in outcome.stdout


def start(config_file, subprocess_environment, *arguments):
    return subprocess.Popen(
        [*COMMAND, "run", str(config_file), *arguments],
        cwd=config_file.parent,
        env=subprocess_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "the study did not get so far"
        time.sleep(0.05)


@pytest.fixture
def long_config(config_file, small_config):
    """One long program of two tiles, checkpointed several times a second."""
    small_config |= {
        "optimizers": [{"name": "adam", "learning_rate": [0.01, 0.02]}],
        "steps": 24_000,
        "eval_every": 2_000,
        "checkpoint_every": 0.2,
        "seeds": 1,
    }
    config_file.write_text(yaml.safe_dump(small_config))
    return config_file


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_study_resumes_to_the_same_bytes(
    initopt, long_config, working_dir, subprocess_environment, number
):
    assert initopt("run", long_config, "--out", "whole", "--devices", 1).returncode == 0
    process = start(long_config, subprocess_environment, "--out", "cut")
    checkpoints = working_dir / "cut" / "checkpoints"

    def saved():
        return any(path.name.isdigit() for path in checkpoints.glob("tile-*/*"))

    wait_for(saved, process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    if number == signal.SIGINT:
        assert process.returncode == 3, stderr
        assert "run the same command again to resume" in stderr
    else:
        assert process.returncode == -signal.SIGKILL
    manifest = json.loads((working_dir / "cut" / "manifest.json").read_text())
    assert manifest["status"] != "done"
    resumed = initopt("run", long_config, "--out", "cut")
    assert resumed.returncode == 0, resumed.stderr
    assert results(working_dir / "cut") == results(working_dir / "whole")


def test_second_process_on_a_folder_is_refused(
    initopt, long_config, working_dir, subprocess_environment
):
    process = start(long_config, subprocess_environment, "--out", "cut")
    try:
        wait_for((working_dir / "cut" / "manifest.json").exists, process)
        second = initopt("run", long_config, "--out", "cut")
        assert second.returncode == 2
        assert "another process" in second.stderr
    finally:
        process.kill()
        process.communicate()
