"""Ctrl-C and SIGTERM: at any moment, once; the exit code is 3 and the message says how to go on."""

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml

CONFIG = {
    "name": "stopped",
    "task": {"name": "regression", "dataset": "diabetes"},
    "model": "linear",
    "initializers": ["zeros"],
    "optimizers": [{"name": "sgd", "learning_rate": 0.001}],
    "seeds": 1,
    "steps": 10**9,
    "eval_every": 10**8,
    "checkpoint_every": 60,
    "tuning": {"seeds": 0},
}
# `program` says when it has begun; then a signal may come at any moment.
BEGIN = (
    "import os\nfrom initopt_jax.cli import interrupts\nfrom initopt_jax.cli import program\n"
    "start = interrupts.threading.Thread.start\n"
    "def told(thread):\n    start(thread)\n"
    "    if thread.name == 'signals':\n        os.write(1, b'.')\n"
    "interrupts.threading.Thread.start = told\nprogram()"
)


@pytest.fixture
def begin(tmp_path, subprocess_environment):
    """Begins a study that takes hours, and returns once signals are read."""
    config = tmp_path / "stopped.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    begun = []

    def run(*more):
        process = subprocess.Popen(
            [sys.executable, "-c", BEGIN, "run", config, "--out", tmp_path / "out", *more],
            env=subprocess_environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        begun.append(process)
        assert os.read(process.stdout.fileno(), 1) == b"."
        return process

    yield run
    for process in begun:
        process.kill()
        process.communicate()


# `test_signals.py` tries both at more moments, without waiting for Python to start.
@pytest.mark.parametrize(
    ("seconds", "number"),
    [(0, signal.SIGTERM), (0.3, signal.SIGINT), (1, signal.SIGTERM), (2, signal.SIGINT)],
)
def test_one_signal_stops_while_modules_are_imported_and_programs_compiled(begin, number, seconds):
    process = begin()
    time.sleep(seconds)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert b"run the same command again" in said
    assert b"Traceback" not in said


def test_a_second_signal_in_training_stops_at_once_and_more_do_no_harm(begin, tmp_path):
    process = begin("--devices", "1")
    while not (tmp_path / "out" / "manifest.json").exists():
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(2)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert b"once more (Ctrl-C) stops at once" in said
    assert b"run the same command again" in said
    assert b"Traceback" not in said
