"""The user's own code: whatever it raises, wherever it runs, becomes one message that names it."""

import contextlib
import pathlib
import re
import sysconfig
import traceback
from collections.abc import Iterator

import jax

from initopt_jax.errors import CheckFailed, ConfigError, Interrupted, StudyError
from initopt_jax.lookup.user_files import INSTALLED

LONG = 200  # letters of a foreign message; arrays are printed whole in some
PACKAGE = str(pathlib.Path(__file__).parents[1])
FOREIGN = (PACKAGE, sysconfig.get_path("stdlib"), "<")
OURS = (ConfigError, StudyError, CheckFailed, Interrupted, KeyboardInterrupt)
VALUES_ASKED = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
ASKS_FOR_VALUES = (
    "it asks for the values of an array (an if, a loop, float() or NumPy), and there are none "
    "while it is compiled; use jnp.where, jax.lax and jax.numpy"
)
ENDS = "it ends the program (sys.exit); guard what a script does by if __name__ == '__main__'"


@contextlib.contextmanager
def user_code(what: str, expects: str = "") -> Iterator[None]:
    """Turn whatever the block raises into one line: also what would end the program in silence.

    Only a Ctrl-C, and errors that are this package's own, pass.

    Args:
        what: is imported or called, for the message.
        expects: how the user's function is called and what it must return.

    Raises:
        ConfigError: with what was raised, and the place in the user's file.

    >>> with user_code("task 'mine:task'"):
    ...     raise SystemExit
    Traceback (most recent call last):
    initopt_jax.errors.ConfigError: task 'mine:task': it ends the program (sys.exit); guard ...
    """
    try:
        yield
    except OURS:
        raise
    except BaseException as error:
        misused = isinstance(error, TypeError) and not isinstance(error, VALUES_ASKED)
        advice = f"; it must be {expects}" if expects and misused else ""
        raise ConfigError(f"{what}: {_said(error)}{place_of(error)}{advice}") from error


@contextlib.contextmanager
def users_failures(what: str) -> Iterator[None]:
    """The same around all of a study: what the user's own file raised late is told as its own.

    An error that comes from nobody's file but a library's or this package's stays what it is.
    """
    try:
        yield
    except OURS:
        raise
    except BaseException as error:
        # Rich ends the program where its output is closed (`| head -1`): that is nobody's fault.
        if isinstance(error, Exception | SystemExit) and not place_of(error):
            raise
        raise ConfigError(f"{what}: {_said(error)}{place_of(error)}") from error


@contextlib.contextmanager
def silent_ends(what: str) -> Iterator[None]:
    """Turn what is no Exception, and would end a thread or the program in silence, into one line.

    Raises:
        ConfigError: with what was raised, and the place in the user's file.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise ConfigError(f"{what}: {_said(error)}{place_of(error)}") from error


def _said(error: BaseException) -> str:
    """What an error says, in one line and in words for who wrote the function."""
    if isinstance(error, VALUES_ASKED):
        return ASKS_FOR_VALUES
    if isinstance(error, SystemExit):
        return ENDS
    if isinstance(error, RecursionError):
        return "RecursionError: it calls itself without end, or goes deeper than Python allows"
    line = first_line(error)
    if returned := re.search(r"returned a value of type <class '(\w+)'>", line):
        line = f"a {returned[1]} was returned where JAX takes arrays alone"
    if len(line) > LONG and not _is_own(error):
        line = line[:LONG] + " ..."
    kind = "" if type(error) in (TypeError, ValueError) else type(error).__name__
    return ": ".join(filter(None, (kind, line))) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first line of what an error says; nothing where it cannot be turned into a text."""
    try:
        return (str(error).strip().splitlines() or [""])[0]
    except Exception:  # noqa: BLE001, a text of the user's that fails in its turn
        return ""


def _is_own(error: BaseException) -> bool:
    """Whether this package raised it: its messages end with what to write, and stay whole."""
    raised = traceback.extract_tb(error.__traceback__)[-1:]
    return any(frame.filename.startswith(PACKAGE) for frame in raised)


def place_of(error: BaseException) -> str:
    """Where an error was raised, in the last file that is neither a library's nor this package's.

    Empty where there is none.
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not INSTALLED & set(pathlib.PurePath(frame.filename).parts)
        and not frame.filename.startswith(FOREIGN)
    ]
    return (
        f" ({pathlib.PurePath(frames[-1].filename).name}, line {frames[-1].lineno})"
        if frames
        else ""
    )
