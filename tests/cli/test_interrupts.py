"""What one signal does, in the process that it is sent to."""

import signal
import threading

import pytest
from typer.testing import CliRunner

from initopt_jax.cli import commands
from initopt_jax.cli.interrupts import Signals, _ignore, unwinding, watched
from initopt_jax.errors import Interrupted


def test_the_first_signal_in_training_only_asks():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with watched() as signals:
        signals.gently = True
        signal.raise_signal(signal.SIGTERM)
        assert signals.stop.wait(10)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert not [one for one in threading.enumerate() if one.name == "signals"]


def test_where_files_are_half_written_the_first_signal_unwinds():
    with watched():
        with pytest.raises(Interrupted, match="nothing is left half-written"), unwinding():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is _ignore


def test_another_thread_than_the_main_one_may_run_commands():
    seen = []

    def run():
        with watched() as signals:
            seen.append(signals)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(seen) == 1


def test_a_keyboard_interrupt_that_nobody_typed_is_the_users_code(working_dir):
    (working_dir / "typed.py").write_text("raise KeyboardInterrupt")
    (working_dir / "c.yaml").write_text(
        "{name: t, task: {name: 'typed:task', dataset: diabetes}, model: linear, "
        "initializers: [zeros], optimizers: [adam]}"
    )
    given = ["run", "c.yaml", "--dry-run"]
    done = CliRunner().invoke(commands.app, given, obj=Signals())
    assert "your own code raised KeyboardInterrupt" in str(done.exception)
