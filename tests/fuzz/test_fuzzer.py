"""The fuzzer itself sees what it looks for."""

import sys

import pytest

from initopt_jax.errors import ConfigError
from tests.fuzz.config_tries import judge_command, try_config
from tests.fuzz.corpus import Finding, read
from tests.fuzz.outcome import Outcome, attempt, judge_message
from tests.fuzz.shrink import shrink


def refuse(message):
    raise ConfigError(message)


def never_end():
    while True:
        pass


@pytest.mark.parametrize(
    ("action", "verdict"),
    [
        (lambda: 1, "ok"),
        (lambda: refuse("steps must be at least 1"), "refused"),
        (lambda: refuse(""), "message"),
        (lambda: 1 / 0, "traceback"),
        (lambda: sys.exit(0), "traceback"),
        (lambda: bytearray(2**62), "memory"),
        (never_end, "hang"),
        (lambda: Outcome("wrong number"), "wrong number"),
    ],
)
def test_ends_are_told_apart(action, verdict):
    outcome = attempt(action, 0.2)
    assert outcome.verdict == verdict
    assert outcome.is_finding == (verdict not in ("ok", "refused"))


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        ("steps must be at least 1", "refused"),
        ("one\n\ntwo", "message"),
        ("9" * 6000, "message"),
        ("Traceback (most recent call last)", "traceback"),
    ],
)
def test_messages_are_one_paragraph(message, verdict):
    assert judge_message(message).verdict == verdict


@pytest.mark.parametrize(
    ("code", "out", "err", "verdict"),
    [
        (0, "a plan", "", "ok"),
        (0, "", "", "message"),
        (2, "", "error: steps must be at least 1\n", "refused"),
        (2, "", "1 of 30 examples is seen twice\nerror: steps must be at least 1\n", "refused"),
        (2, "", "1 of 30 examples is seen twice\nerror: steps must be\nat least 1\n", "message"),
        (2, "", "", "message"),
        (1, "", "Traceback (most recent call last):\n", "traceback"),
        (99, "", "", "traceback"),
    ],
)
def test_ends_of_commands_are_told_apart(code, out, err, verdict):
    assert judge_command(code, out, err).verdict == verdict


def test_a_folder_that_a_refused_config_leaves_is_a_finding(tmp_path, monkeypatch):
    def leave(*given, **options):
        (tmp_path / "runs").mkdir()
        raise ConfigError("wrong")

    monkeypatch.setattr("initopt_jax.studies.preview.plan", leave)
    assert try_config({"config": {}, "via": "plan"}, tmp_path).verdict == "left behind"


def test_the_smallest_input_is_found():
    given = {"a": [1, {"b": "long text with a hole"}, 3], "c": "x"}
    assert shrink(given, lambda one: "hole" in str(one.get("a"))) == {"a": [{"b": "a hole"}]}


def test_a_finding_is_read_as_it_was_written(tmp_path):
    given = {"text": "\ud800\x00", "number": float("inf"), "large": 10**400}
    finding = Finding("config", given, Outcome("hang", "here", "long"), "0.1.0")
    assert read(finding.write(tmp_path)) == finding
