"""What a try may end with, and what counts as a finding."""

import contextlib
import signal
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from initopt_jax.errors import CheckFailed, ConfigError, Interrupted, StudyError

EXPECTED = (CheckFailed, ConfigError, Interrupted, StudyError)
FINE = ("ok", "refused")
# Of findings: an exception or exit code that nobody expects, a number that is not the study's, no
# end, too much memory, a message that is none, and a folder that should not be there.
FAULTS = ("traceback", "wrong number", "hang", "memory", "message", "left behind")
PATIENCE = 4  # times its processor time, a try may take on a machine that others use as well
LONGEST = 5_000  # letters of a message that somebody reads
PACKAGE = "initopt_jax"


@dataclass(frozen=True)
class Outcome:
    """How a try ended. `where` tells a finding from others of its kind."""

    verdict: str
    where: str = ""
    text: str = ""

    @property
    def is_finding(self) -> bool:
        return self.verdict not in FINE


OK = Outcome("ok")


class Hang(BaseException):
    """A try took longer than its limit. No Exception, so that nothing on the way catches it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise Hang in the main thread after so much processor time, or PATIENCE times as long."""

    def end(number: int, frame: Any) -> None:
        raise Hang(f"no end after {seconds:g} s")

    processor = (signal.ITIMER_PROF, signal.SIGPROF, 1)
    clock = (signal.ITIMER_REAL, signal.SIGALRM, PATIENCE)
    timers = (processor, clock)
    previous = {number: signal.signal(number, end) for _, number, _ in timers}
    for timer, _, times in timers:
        signal.setitimer(timer, times * seconds, 1.0)
    try:
        yield
    finally:
        for timer, number, _ in timers:
            signal.setitimer(timer, 0)
            signal.signal(number, previous[number])


def attempt(action: Callable[[], Any], seconds: float) -> Outcome:
    """Do it, and judge how it ends; `action` may return an Outcome of its own."""
    try:
        with time_limit(seconds):
            found = action()
        return found if isinstance(found, Outcome) else OK
    except EXPECTED as error:
        return judge_message(str(error))
    except Hang as error:
        return Outcome("hang", place_of(error), _told(error))
    except MemoryError as error:
        return Outcome("memory", place_of(error), _told(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        return Outcome("traceback", place_of(error), _told(error))


def judge_message(message: str) -> Outcome:
    """A refusal is one paragraph, not empty, and short enough to be read."""
    if "Traceback (most recent" in message:
        return Outcome("traceback", "in a message", message[:LONGEST])
    if not message.strip():
        return Outcome("message", "empty", message)
    if "\n" in message.strip():
        return Outcome("message", f"several lines: {message[:40]!r}", message[:LONGEST])
    if len(message) > LONGEST:
        return Outcome("message", f"{message[:40]!r}... is endless", message[:LONGEST])
    return Outcome("refused", text=message)


def place_of(error: BaseException) -> str:
    """The exception's type and the deepest line of the package that it went through."""
    frames = [
        f"{Path(frame.filename).name}:{frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if f"/{PACKAGE}/" in frame.filename
    ]
    return f"{type(error).__name__} in {frames[-1] if frames else 'no line of the package'}"


def _told(error: BaseException) -> str:
    lines = traceback.format_exception_only(error)
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    path = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
    return f"{''.join(lines).strip()[:600]} | {path}"
