"""An odd environment: one line, or no effect."""

import errno
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest
import yaml

import initopt_jax as iox
from initopt_jax.cli import commands
from initopt_jax.engine import devices
from initopt_jax.errors import ConfigError
from initopt_jax.store import Store

FULL = Path("/dev/full")
STUDY = {
    "name": "odd",
    "task": {"name": "regression", "dataset": "diabetes"},
    "model": "linear",
    "initializers": ["zeros"],
    "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
    "seeds": 1,
    "steps": 2,
    "tuning": {"seeds": 0},
}
COMMAND = "from initopt_jax.cli import main; main()"


@pytest.mark.parametrize("error", [RuntimeError("no backend\nat all"), AssertionError()])
def test_a_platform_that_is_not_there_is_told_in_one_line(monkeypatch, error):
    def fails():
        raise error

    monkeypatch.setattr(jax, "local_devices", fails)
    with pytest.raises(ConfigError, match=r"JAX_PLATFORMS asks for: .*set it to cpu") as caught:
        devices.set_up_devices()
    assert "\n" not in str(caught.value)


def test_jax_that_may_not_compile_is_refused():
    with (
        jax.disable_jit(),
        pytest.raises(ConfigError, match=r"JAX_DISABLE_JIT is set, .* leave it"),
    ):
        devices.set_up_devices()


def test_an_encoding_without_a_letter_loses_no_sign(monkeypatch):
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", written)
    commands._print_in_any_encoding()
    print("\N{MINUS SIGN}0.5 ± 0.1 R² of ã and \udcff")
    written.flush()
    assert written.buffer.getvalue() == rb"-0.5 +- 0.1 R^2 of \xe3 and \udcff" + b"\n"


def test_a_backend_for_figures_that_is_not_there_has_no_effect(working_dir, subprocess_environment):
    iox.run(STUDY, working_dir / "study", devices=1)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "report", "study"],
        env=subprocess_environment | {"MPLBACKEND": "nonsense", "PYTHONIOENCODING": "ascii"},
        cwd=working_dir, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "test R^2" in done.stdout


@pytest.mark.parametrize("lost", ["current folder", "folder of the study"])
def test_a_folder_that_is_removed_meanwhile_is_said_to_be(lost, working_dir, monkeypatch, capsys):
    config = working_dir / "c.yaml"
    config.write_text(yaml.safe_dump(STUDY))
    if lost == "current folder":
        inner = working_dir / "inner"
        inner.mkdir()
        monkeypatch.chdir(inner)
        inner.rmdir()
        said = "error: the current folder does not exist any more; change to another\n"
    else:
        written = Store.write_tiles

        def lose(store, finished):
            shutil.rmtree(working_dir / "runs")
            written(store, finished)

        monkeypatch.setattr(Store, "write_tiles", lose)
        said = "error: 'runs/odd' was removed, moved or replaced while it was written to; nothing"
    monkeypatch.setattr(sys, "argv", ["initopt", "run", str(config)])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (working_dir / "runs").exists()


def test_no_programs_are_kept_where_files_cannot_be_locked(monkeypatch, tmp_path):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(jax.config.values, "jax_compilation_cache_dir", None)
    changed = []
    monkeypatch.setattr(jax.config, "update", lambda *given: changed.append(given))
    monkeypatch.setattr(devices.fcntl, "flock", no_locks)
    devices.keep_compiled()
    assert changed == []
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert devices._can_lock(tmp_path)


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_an_output_that_is_full_or_closed_is_no_traceback(subprocess_environment):
    def told(output):
        return subprocess.run(
            [sys.executable, "-c", COMMAND, "list", "functions"],
            check=False,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            env=subprocess_environment,
        )

    with FULL.open("w") as full:
        done = told(full)
    assert done.returncode == 2
    assert done.stderr == "error: the output cannot be written: No space left on device\n"
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        done = told(closed)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("out", ["x" * 300, "y/" + "x" * 300])
def test_a_folder_that_no_disk_can_hold_is_one_line(monkeypatch, capsys, working_dir, out):
    config = working_dir / "c.yaml"
    config.write_text(
        "{name: t, task: {name: regression, dataset: diabetes}, model: linear, "
        "initializers: [zeros], optimizers: [adam]}"
    )
    monkeypatch.setattr(sys, "argv", ["initopt", "run", str(config), "--out", out])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "File name too long" in said
    assert "Traceback" not in said
