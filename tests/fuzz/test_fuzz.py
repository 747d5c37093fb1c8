"""A few dozen tries of every kind, and everything that was ever found, again.

`make fuzz HOURS=1` makes thousands, see `docs/reliability.md`.
"""

import subprocess
import sys

import hypothesis
import pytest

from tests.fuzz import corpus
from tests.fuzz.kinds import KINDS
from tests.fuzz.worker import attempt

FEW = {"config": 30, "damage": 20, "data": 60}


def again(path):
    finding = corpus.read(path)
    marks = [pytest.mark.xfail(reason=finding.known)] if finding.known else []
    return pytest.param(finding, id=path.stem, marks=marks)


@pytest.mark.parametrize("finding", [again(path) for path in corpus.everything()])
def test_what_was_found_is_mended(finding, repository, subprocess_environment):
    if KINDS[finding.kind].starts_jax:
        outcome = attempt(finding.kind, dict(finding.given))
        assert not outcome.is_finding, outcome
    else:  # it forks, which a process that has started JAX may not do
        command = ["-m", "tests.fuzz", "0", "--again", corpus.CORPUS / f"{finding.name}.json"]
        done = subprocess.run(
            [sys.executable, *command],
            env=subprocess_environment, cwd=repository,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", FEW)
def test_a_few_tries_of_every_kind(kind):
    @hypothesis.settings(max_examples=FEW[kind], phases=[hypothesis.Phase.generate])
    @hypothesis.given(KINDS[kind].strategy)
    def each(given):
        if given.get("via") == "run":  # ten seconds each
            given["via"] = "plan"
        outcome = attempt(kind, given)
        assert not outcome.is_finding, (outcome, given)

    each()
