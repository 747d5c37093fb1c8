"""Trying a config: planned, audited, through the command line, or run for a few steps."""

import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from initopt_jax.cli import commands as cli
from initopt_jax.config.schema import read_config
from initopt_jax.studies import preview, run, study, verify
from tests.fuzz.configs import as_text
from tests.fuzz.hostile import FILES
from tests.fuzz.outcome import OK, Outcome, attempt, judge_message

SECONDS = {"plan": 20, "cli": 20, "audit": 40, "run": 120}
REFUSAL = re.compile(r"^(error|failed|stopped): ", re.MULTILINE)
FEW_STEPS = ("steps=2", "eval_every=1", "checkpoint_every=30")


def try_config(given: Mapping[str, Any], folder: Path) -> Outcome:
    """One try in an empty folder.

    Args:
        given: `config`, as plain values, or `text` of a YAML file in `encoding`; `settings` as of
            `--set`; `via`: what is asked for; `arguments` of the command line.
        folder: where it is done; the current folder meanwhile.
    """
    with contextlib.chdir(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _write_files(folder)
        try:
            source = _source(given, folder)
        except (UnicodeError, ValueError):  # no such file can be
            return OK
        before = _listing(folder)
        via = given["via"]
        outcome = attempt(lambda: _do(via, source, given), SECONDS[via])
        left = [] if via == "run" and outcome.verdict == "ok" else _listing(folder) - before
        if left and outcome.verdict in ("ok", "refused"):
            return Outcome("left behind", via, f"after {outcome}: {sorted(left)[:5]}")
        return outcome


def _do(via: str, source: Any, given: Mapping[str, Any]) -> Outcome | None:
    settings = given.get("settings", [])
    if via == "cli":
        flags = [word for setting in settings for word in ("--set", setting)]
        return judge_command(
            *command("run", source, "--dry-run", *flags, *given.get("arguments", []))
        )
    if via == "audit":
        preview.audit(source, settings)
    elif via == "plan":
        preview.plan(source, settings, devices=1)
    else:
        return _run(source, settings)
    return None


def _run(source: Any, settings: Sequence[str]) -> Outcome:
    """A finished study can be summarized and verified."""
    few = [*settings, *FEW_STEPS]
    for number, optimizer in enumerate(read_config(source, settings).optimizers):
        if optimizer.steps or optimizer.eval_every:  # of its own
            few += [f"optimizers.{number}.{setting}" for setting in FEW_STEPS[:2]]
    done = run.run(source, "study", overrides=few, devices=1)
    opened = study.open_study(done.dir)
    opened.summary()
    opened.frame()
    found = verify.verify(done.dir, sample=1, devices=1)
    if found.exit_code:
        return Outcome("wrong number", "a study that is done is not verified", str(found)[:900])
    return OK


def command(*arguments: Any) -> tuple[int, str, str]:
    """`initopt ...` in this process: its exit code, what it printed, and its errors."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["initopt", *map(str, arguments)]
    code: Any = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as end:
        code = 0 if end.code is None else end.code
    finally:
        sys.argv = before
    return code if isinstance(code, int) else 99, out.getvalue(), err.getvalue()


def judge_command(code: int, out: str, err: str) -> Outcome:
    """Exit codes are 0 to 3, a refusal is told in a paragraph, and 0 means that it was done."""
    if "Traceback (most recent" in out + err:
        return Outcome("traceback", "printed by the command", err[-900:])
    if code not in (0, 1, 2, 3):
        return Outcome("traceback", f"exit code {code}", err[-900:])
    if code == 0:
        return OK if out.strip() else Outcome("message", "exit code 0, and nothing was done")
    if err.startswith("Usage:"):  # by the parser of the command line
        return Outcome("refused", text=err)
    refusal = REFUSAL.search(err)  # after notes
    return judge_message(err[refusal.start() :] if refusal else err)


def _source(given: Mapping[str, Any], folder: Path) -> Any:
    if "text" not in given and given["via"] in ("plan", "run"):
        return given["config"]
    text = given["text"] if "text" in given else as_text(given["config"])
    path = folder / "config.yaml"
    path.write_bytes(text.encode(given.get("encoding", "utf-8"), "surrogatepass"))
    return path


def _write_files(folder: Path) -> None:
    for name, text in FILES.items():
        (folder / name).write_text(text)
    os.mkfifo(folder / "pipe")


def _listing(folder: Path) -> set[str]:
    found: Iterator[Path] = folder.rglob("*")
    return {str(path.relative_to(folder)) for path in found if "__pycache__" not in path.parts}
