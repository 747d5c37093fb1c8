"""Ctrl-C and SIGTERM in a command: one stops it, whatever code is running, and says how to go on.

A signal is read by a thread of its own. It is never raised as an exception in the middle of an
import or of a compilation, where it could be swallowed, or wait until the compiler is done.
"""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

from initopt_jax.errors import Interrupted

STOPPED = 3  # the exit code
SIGNALS = (signal.SIGINT, signal.SIGTERM)
AGAIN = "stopped: run the same command again to go on"
SOON = "stopping at the end of this segment; once more (Ctrl-C) stops at once"
SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it


class Signals:
    """What Ctrl-C and SIGTERM do, by what the command is doing.

    At once: the process ends. All that is written is written so that this loses nothing, as a kill
    would not.

    Attributes:
        stop: set by the first signal while a study trains, which then ends its segment.
        gently: whether a study trains.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.gently = False

    def receive(self) -> None:
        """Act on one signal."""
        if self.gently and not self.stop.is_set():
            self.stop.set()
            _tell(SOON)
        else:
            _tell(AGAIN)
            os._exit(STOPPED)


@contextlib.contextmanager
def watched() -> Iterator[Signals]:
    """Have signals read for the time of the block; afterwards they do what they did before."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals  # only the main thread may ask for signals
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)

    def watch() -> None:
        while received := reader.recv(1):
            if received[0] in SIGNALS:
                signals.receive()

    thread = threading.Thread(target=watch, name="signals", daemon=True)
    before = {number: signal.signal(number, _ignore) for number in SIGNALS}
    other = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    thread.start()
    try:
        yield signals
    finally:
        signal.set_wakeup_fd(other)
        for number, handler in before.items():
            signal.signal(number, handler)
        writer.close()
        thread.join()
        reader.close()


def ignore_afterwards() -> None:
    """Have signals ignored once `watched` is over, while the process ends with its exit code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """Let a signal end the block as Ctrl-C ends a script: what is half-written is removed first.

    Raises:
        Interrupted: a signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    watching = signal.set_wakeup_fd(-1)
    before = {number: signal.signal(number, _raise) for number in SIGNALS}
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("nothing is left half-written; run the same command again") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(watching, warn_on_full_buffer=False)


def _raise(number: int, frame: Any) -> None:
    del number, frame
    raise KeyboardInterrupt


def _ignore(number: int, frame: Any) -> None:
    """Python's own handler: the signal was read by the thread."""
    del number, frame


def _tell(message: str) -> None:
    """A line on standard error, past what Python may hold locked or unwritten."""
    shown = SHOW_CURSOR if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{shown}\n{message}\n".encode())
