"""A process that makes tries of one kind for a while, watched by the one that forked it."""

import contextlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import hypothesis
import jax

from tests.fuzz.kinds import KINDS
from tests.fuzz.outcome import Outcome
from tests.fuzz.shrink import shrink

MEMORY = 8 * 2**30  # bytes of address space, beyond what a process has when it begins
FORKING = threading.Lock()
SHRINKING = 120.0  # seconds for making an input smaller
ROUND = 40  # inputs that are drawn from one seed


class Worker:
    """A forked process, and what it tells.

    Args:
        task: `(connection) -> None`, done in the child.
    """

    def __init__(self, task: Any):
        with FORKING:  # else another worker would hold this one's end of the pipe open
            self.connection, child = multiprocessing.Pipe()
            sys.stdout.flush()
            self.process = os.fork()
            if self.process == 0:
                self.connection.close()
                _live(task, child)
            child.close()

    def told(self, seconds: float) -> Any:
        """The next message; None where there is none in time, EOFError where it has ended."""
        return self.connection.recv() if self.connection.poll(seconds) else None

    def end(self) -> int:
        """Kill it, if it is still there; its exit status."""
        self.connection.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process, signal.SIGKILL)  # and what it has forked
        return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])


def _live(task: Any, connection: Connection) -> None:
    """The child's life; what it prints is nobody's."""
    code = 0
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        task(connection)
    except BaseException:  # noqa: BLE001 - told to the parent, which ends
        connection.send(("broken", traceback.format_exc()))
        code = 1
    finally:
        os._exit(code)


def prepare(kind: str) -> Any:
    """A task: makes what tries of a kind need."""

    def task(connection: Connection) -> None:
        _prepare(kind)
        make = KINDS[kind].prepare
        if make:
            make()
        connection.send(("done", 0))

    return task


def explore(kind: str, seed: int, deadline: float) -> Any:
    """A task: draws inputs and tries them until the time is over, telling each before and after."""

    def task(connection: Connection) -> None:
        _prepare(kind)
        number = seed
        while time.monotonic() < deadline:
            _round(kind, number, deadline, connection)
            number += 1
        connection.send(("done", number))

    return task


def _round(kind: str, seed: int, deadline: float, connection: Connection) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=ROUND,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(KINDS[kind].strategy)
    def each(given: dict[str, Any]) -> None:
        if time.monotonic() < deadline:
            connection.send(("begin", given))
            connection.send(("end", attempt(kind, given)))

    each()


def again(kind: str, given: dict[str, Any], found: Outcome | None) -> Any:
    """A task: tries an input again, and where it ends as before, looks for a smaller one."""

    def task(connection: Connection) -> None:
        _prepare(kind)
        outcome = attempt(kind, given)
        connection.send(("again", given, outcome))
        if found is None or (outcome.verdict, outcome.where) != (found.verdict, found.where):
            return

        until = time.monotonic() + SHRINKING

        def same(other: dict[str, Any]) -> bool:
            if time.monotonic() > until:
                return False
            try:
                new = attempt(kind, other)
            except (KeyError, TypeError, IndexError):  # no input any more
                return False
            return (new.verdict, new.where) == (found.verdict, found.where)

        connection.send(("smaller", shrink(given, same)))

    return task


def attempt(kind: str, given: dict[str, Any]) -> Outcome:
    """One try in an empty folder of its own."""
    with tempfile.TemporaryDirectory(prefix="try-", ignore_cleanup_errors=True) as folder:
        return KINDS[kind].attempt(json.loads(json.dumps(given)), Path(folder).resolve())


def _prepare(kind: str) -> None:
    """Limit memory, and start JAX on one device where tries are made in this process."""
    if KINDS[kind].starts_jax:
        jax.config.update("jax_num_cpu_devices", 1)
        jax.devices()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def watch(worker: Worker, seconds: float) -> Iterator[tuple[Any, ...]]:
    """What a worker tells; ("hang", ...) and ("died", status) where it does not come to its end."""
    while True:
        try:
            told = worker.told(seconds)
        except EOFError:
            status = worker.end()
            if status != 0:
                yield "died", status
            return
        if told is None:
            worker.end()
            yield ("hang",)
            return
        yield told
