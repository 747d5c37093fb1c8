"""Studies of a second, run by a process that forks; and what they leave behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
import yaml

from tests.system.tiny import TINY


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory):
    """A study as a file: 6 tiles of 10 segments, after each of which a checkpoint is due."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


class Zygote:
    """The process that forks studies, see zygote.py."""

    def __init__(self, environment):
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            env=environment | {"OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def live(self, folder, log, *arguments, kill=None, report="light"):
        """`initopt ...` on the study in `folder`; the exit status, -9 where it was killed."""
        order = {
            "arguments": [str(argument) for argument in arguments], "folder": str(folder),
            "log": str(log), "kill": kill or {}, "report": report,
        }  # fmt: skip
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


@pytest.fixture(scope="session")
def make_zygote(subprocess_environment):
    """Makes processes that fork studies; use each in a `with`."""
    return lambda: Zygote(subprocess_environment)


@pytest.fixture(scope="session")
def zygote(make_zygote):
    with make_zygote() as process:
        yield process


def outcome(folder):
    """What a study has to show for itself, byte for byte; times are not part of it."""
    data = xr.open_zarr(folder / "results.zarr", consolidated=False, chunks=None).load()
    return {
        **{name: data[name].to_numpy().tobytes() for name in data.data_vars},
        **{name: (folder / name).read_bytes() for name in ("lanes.csv", "summary.csv")},
    }


@pytest.fixture(scope="session")
def undisturbed(zygote, tiny_config, tmp_path_factory):
    """The folder of the tiny study, and beside it the log of the one run that it took."""
    folder = tmp_path_factory.mktemp("undisturbed")
    arguments = ("run", tiny_config, "--out", folder / "study", "--devices", 1)
    assert zygote.live(folder / "study", folder / "log", *arguments) == 0
    return folder / "study"


@pytest.fixture
def assert_same_as_undisturbed(undisturbed):
    """Compares the results, lanes and summary of the tiny study, byte for byte."""
    wanted = outcome(undisturbed)

    def compare(folder):
        assert outcome(folder) == wanted
        assert not [path for path in folder.rglob("*") if path.suffix in (".part", ".partial")]
        assert not (folder / "checkpoints").exists()

    return compare
