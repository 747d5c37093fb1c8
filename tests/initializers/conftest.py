"""What tests of several initializers share."""

import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest

THREADS = """
import threading

threads = [threading.Thread(target=work, args=(d,)) for d in jax.devices()]
assert len(threads) == 2
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done")
"""


@pytest.fixture
def finishes_on_two_devices(subprocess_environment) -> Callable[[str], None]:
    """Run a program's `work(device)` on two devices at once, in a process with a time limit."""

    def run(program: str) -> None:
        finished = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program) + THREADS],
            env=subprocess_environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert finished.stdout.strip() == "done", finished.stderr

    return run
