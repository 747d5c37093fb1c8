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
        gently: whether a study trains. unwinds: whether files must be removed first, so that the
            first signal is a KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.gently = self.unwinds = False

    def receive(self) -> None:
        """Act on one signal."""
        if self.gently and not self.stop.is_set():
            self.stop.set()
            _tell(SOON)
        elif self.unwinds and not self.stop.is_set():
            self.stop.set()
        else:
            _tell(AGAIN)
            os._exit(STOPPED)

    def on_signal(self, number: int, frame: Any) -> None:
        """Python's own handler, run between two of its instructions."""
        del number, frame
        if self.unwinds:
            raise KeyboardInterrupt


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
    before = {number: signal.signal(number, signals.on_signal) for number in SIGNALS}
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


def _tell(message: str) -> None:
    """A line on standard error, past what Python may hold locked or unwritten."""
    shown = SHOW_CURSOR if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{shown}\n{message}\n".encode())
