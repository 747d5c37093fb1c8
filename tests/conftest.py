"""Strict numerics for every test, and the fixtures that all share.

The two settings of JAX must come before its first use, hence at import time of this file.
"""

import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import jax
import matplotlib as mpl
import pytest

from initopt_jax import reports
from tests import light_report

REPOSITORY = Path(__file__).resolve().parents[1]
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

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 4)
mpl.use("Agg")

# Many tests compile the same small programs: within one session each is compiled once. The folder
# is fresh, so no session sees what another compiled. The process that collects the tests makes it,
# before it starts its workers, which find it here.
COMPILED = "INITOPT_TESTS_COMPILED"
_CACHE = tempfile.TemporaryDirectory(prefix="initopt-tests-")
_COMPILED = os.environ.setdefault(COMPILED, str(Path(_CACHE.name, "compiled")))
jax.config.update("jax_compilation_cache_dir", _COMPILED)
os.environ["INITOPT_CACHE_DIR"] = _CACHE.name  # of decoded pictures, of this process alone
os.environ["XDG_STATE_HOME"] = _CACHE.name  # of the key that marks one's own studies
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# Examples are the same in every run; compiling inside an example makes any deadline a coin toss.
hypothesis.settings.register_profile(
    "initopt",
    derandomize=True,
    deadline=None,
    max_examples=25,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("initopt")


# Minutes and half minutes: begun last, they would leave the other workers idle.
LONG = ("system", "test_bits", "test_configs", "test_docs")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file share its studies, so one worker takes them all; the longest first."""
    for item in items:
        shared = "system" if item.path.parent.name == "system" else item.path.stem
        item.add_marker(pytest.mark.xdist_group(shared))
    items.sort(key=lambda item: not {item.path.stem, item.path.parent.name} & set(LONG))


# Where reports are looked at; the studies of all other tests have light ones.
REPORTS = {"benchmarks", "cli", "experiments", "fuzz", "reports"}  # folders
REPORTS |= {"test_command", "test_configs", "test_trust"}
_FULL = reports.build


@pytest.fixture(scope="module", autouse=True)
def light_reports(request: pytest.FixtureRequest) -> Iterator[None]:
    """Reports of this process are light, see `light_report.py`, but where they are looked at."""
    with pytest.MonkeyPatch.context() as patch:
        if not {request.path.stem, request.path.parent.name} & REPORTS:
            patch.setattr(reports, "build", light_report.build)
        yield


@pytest.fixture
def full_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports of this test are whole."""
    monkeypatch.setattr(reports, "build", _FULL)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture
def study_dir(tmp_path: Path) -> Path:
    """Where a test may put a study: a path that does not exist yet."""
    return tmp_path / "study"


@pytest.fixture
def working_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, for code that writes to `runs/` or imports the user's files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def subprocess_environment() -> dict[str, str]:
    """Variables for a child Python: it finds the checkout, and what this session compiled."""
    paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "JAX_COMPILATION_CACHE_DIR": _COMPILED,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


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


@pytest.fixture
def small_config() -> dict:
    """A study of a few seconds: two initializers, three optimizers, 28 lanes, 20 steps."""
    return {
        "name": "small",
        "task": {"name": "classification", "dataset": "digits", "batch_size": 32},
        "model": {"name": "mlp", "hidden": [8], "activation": "tanh"},
        "initializers": ["glorot_uniform", {"name": "normal", "stddev": 0.1}],
        "optimizers": [
            {"name": "sgd", "learning_rate": [0.1, 1.0]},
            {"name": "adam", "learning_rate": [0.01, 0.1]},
            {"name": "gd", "learning_rate": 0.5, "steps": 4},
        ],
        "seeds": 2,
        "tuning": {"seeds": 1},
        "steps": 20,
        "eval_every": 5,
        "target": {"metric": "val_accuracy", "at_least": 0.8},
        "tile_width": 4,
    }
