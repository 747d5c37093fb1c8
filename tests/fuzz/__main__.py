"""`python -m tests.fuzz HOURS`: tries of every kind, and a table of what came of them.

Each worker process makes tries of one kind for a minute, then of the kind that has had the least of
its share of the time. What ends as it should not is tried again, made smaller, and written to the
corpus, which the tests try again for ever. Exit code 1 if anything was found.
"""

import argparse
import collections
import importlib
import importlib.metadata
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tests.fuzz.corpus import CORPUS, Finding, read
from tests.fuzz.kinds import KINDS
from tests.fuzz.outcome import Outcome
from tests.fuzz.prepared import VARIABLE
from tests.fuzz.worker import Worker, again, explore, prepare, watch
from tests.system.zygote import IMPORTS

TURN = 60.0  # seconds that a worker stays with one kind
PREPARING = 1200.0
VERSION = importlib.metadata.version("initopt-jax")
COLUMNS = ("traceback", "wrong number", "hang", "other")


class Campaign:
    """Tries of all kinds by several workers, until the time is over.

    Args:
        seconds: how long.
        kinds: names of those to try.
        seed: of the first input.
        corpus: folder of findings.
    """

    def __init__(self, seconds: float, kinds: list[str], seed: int, corpus: Path):
        self.began = time.monotonic()
        self.deadline = self.began + seconds
        self.kinds, self.seed, self.corpus = kinds, seed, corpus
        self.spent: collections.Counter[str] = collections.Counter()
        self.counts = {kind: collections.Counter() for kind in kinds}
        self.findings: dict[tuple[str, str, str], Path] = {}
        self.turns = dict.fromkeys(kinds, 0)

    def next_kind(self) -> str:
        """The kind that has had the least of its share."""
        return min(self.kinds, key=lambda kind: self.spent[kind] / KINDS[kind].share)

    def turn(self) -> None:
        """One worker's minute with one kind."""
        kind = self.next_kind()
        began = time.monotonic()
        until = min(self.deadline, began + TURN)
        self.spent[kind] += until - began  # so that another worker takes another kind
        number = self.seed + 100_000 * sorted(KINDS).index(kind) + 1_000 * self.turns[kind]
        self.turns[kind] += 1
        given: Any = None
        for word, *values in watch(Worker(explore(kind, number, until)), KINDS[kind].seconds):
            if word == "broken":
                raise RuntimeError(values[0])
            if word == "begin":
                given = values[0]
            elif word in ("end", "hang", "died"):
                outcome = _outcome(word, values)
                self.counts[kind]["tried"] += KINDS[kind].count(given) if given else 0
                self.counts[kind][outcome.verdict] += 1
                if outcome.is_finding and given is not None:
                    self.note(kind, given, outcome)
                given = None
        self.spent[kind] += time.monotonic() - until

    def note(self, kind: str, given: Any, found: Outcome) -> None:
        """Try it again, make it smaller, and write it down, the first time that it is found."""
        key = kind, found.verdict, found.where
        if key in self.findings:
            return
        self.findings[key] = self.corpus
        same = False
        worker = Worker(again(kind, given, found))
        for word, *values in watch(worker, KINDS[kind].seconds):
            if word == "again":
                outcome: Outcome = values[1]
                same = (outcome.verdict, outcome.where) == (found.verdict, found.where)
            elif word == "smaller":
                given = values[0]
            elif word in ("hang", "died"):
                same = True
        seen = "" if same else "seen once: it did not end so again"
        told = Outcome(found.verdict, found.where, f"{found.text} {seen}".strip()[:900])
        finding = Finding(kind, given, told, VERSION)
        self.findings[key] = finding.write(self.corpus)
        print(f"\r\033[K{self.findings[key].name}: {told.verdict}: {told.where}", flush=True)

    def run(self, workers: int) -> None:
        """Until the time is over."""

        def work() -> None:
            while time.monotonic() < self.deadline - 1:
                self.turn()

        threads = [threading.Thread(target=work) for _ in range(workers)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.5)
            self.progress()
        for thread in threads:
            thread.join()

    def progress(self) -> None:
        """One line, written over."""
        minutes = (time.monotonic() - self.began) / 60
        tried = ", ".join(f"{self.counts[kind]['tried']:,} {kind}" for kind in self.kinds)
        line = f"{minutes:.1f} min: {tried}; {len(self.findings)} found"
        if sys.stdout.isatty() or int(time.monotonic() * 2) % 60 == 0:
            print(f"\r\033[K{line}", end="", flush=True)

    def table(self) -> str:
        """Of all kinds: tried, and ended as it should not."""
        rows = [f"{'kind':<10}{'tried':>9}{'taken':>9}{'refused':>9}"
                + "".join(f"{name:>14}" for name in COLUMNS)]  # fmt: skip
        for kind in self.kinds:
            count = self.counts[kind]
            known = [count[name] for name in COLUMNS[:-1]]
            other = sum(count.values()) - count["tried"] - count["ok"] - count["refused"]
            numbers = (*known, other - sum(known))
            rows.append(f"{kind:<10}{count['tried']:>9,}{count['ok']:>9,}{count['refused']:>9,}"
                        + "".join(f"{number:>14,}" for number in numbers))  # fmt: skip
        return "\n".join(rows)


def _outcome(word: str, values: list[Any]) -> Outcome:
    if word == "end":
        return values[0]
    if word == "hang":
        return Outcome("hang", "given up from outside")
    return Outcome("traceback", f"the process died with status {values[0]}")


def versions() -> str:
    """Of the package, with its commit, and of what it stands on."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    ).stdout.strip()
    python = ".".join(map(str, sys.version_info[:3]))
    return (f"initopt-jax {VERSION} {commit}, Python {python}, "
            f"jax {jax.__version__}, numpy {np.__version__}")  # fmt: skip


def _prepare(kinds: list[str]) -> None:
    """What tries need, each made in a process of its own."""
    for kind in kinds:
        if KINDS[kind].prepare:
            for word, *values in watch(Worker(prepare(kind)), PREPARING):
                if word != "done":
                    raise RuntimeError(f"preparing {kind}: {word} {values}")


def _again(findings: list[Finding]) -> int:
    """Findings tried again; 1 if one still ends as it should not."""
    worst = 0
    for finding in findings:
        task = again(finding.kind, dict(finding.given), None)
        for word, *values in watch(Worker(task), KINDS[finding.kind].seconds):
            outcome = values[1] if word == "again" else _outcome(word, values)
            print(f"{finding.name}: {outcome}", flush=True)
            worst |= outcome.is_finding
    return int(worst)


def main() -> int:
    """Parse the command line, run, print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("hours", type=float, help="how long, such as 0.1")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of tries, separated by commas")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=None, help="default: another every time")
    parser.add_argument("--again", type=Path, nargs="+", help="only try these files once more")
    parser.add_argument("--corpus", type=Path, default=CORPUS, help="folder for what is found")
    asked = parser.parse_args()
    kinds = [kind for kind in asked.kinds.split(",") if kind]
    if unknown := sorted(set(kinds) - set(KINDS)):
        parser.error(f"unknown kind {unknown[0]!r}; there are {', '.join(KINDS)}")
    seed = random.SystemRandom().randrange(10**9) if asked.seed is None else asked.seed
    for module in IMPORTS:
        importlib.import_module(module)
    tried = versions()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        jax.config.update("jax_compilation_cache_dir", f"{folder}/compiled")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        os.environ["INITOPT_CACHE_DIR"] = folder
        os.environ[VARIABLE] = f"{folder}/studies"
        Path(folder, "studies").mkdir()
        if asked.again:
            return _again([read(path) for path in asked.again])
        _prepare(kinds)
        campaign = Campaign(asked.hours * 3600, kinds, seed, asked.corpus)
        campaign.run(asked.workers)
    print(f"\r\033[K{tried}, seed {seed}, {asked.hours:g} h\n{campaign.table()}")
    for (kind, verdict, where), path in sorted(campaign.findings.items()):
        print(f"{kind}: {verdict}: {where} ({path.name})")
    return int(bool(campaign.findings))


if __name__ == "__main__":
    sys.exit(main())
