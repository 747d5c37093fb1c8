"""A process that has imported everything and forks a child per study, to be killed on the way.

Starting Python and JAX takes seconds, forking takes none. Nothing here may start JAX itself, whose
threads would not survive the fork. Each line of standard input is one life as JSON:

    arguments: of the command `initopt`
    folder: of the study
    log: a file outside of it, for what the child has done; beside it, what it prints
    report: "full", or "light" as in light_report.py
    kill: {}, or {"start": seconds from when the command begins}, or
        {"after": seconds from when the folder is locked}, or
        {"event": nth access to a file of the study, "delay": seconds from then}, or
        {"save": nth checkpoint, "delay": seconds from when it begins};
        with "signal", the name of another than SIGKILL, which may be sent several "times"

and is answered by a line with the child's exit status, negative where a signal ended it.
"""

import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from pathlib import Path

from initopt_jax import reports
from initopt_jax.cli import commands
from initopt_jax.store import Store
from tests import light_report

# What a study imports on its way.
IMPORTS = (
    "matplotlib.backends.backend_agg", "matplotlib.figure", "orbax.checkpoint", "plotly.io",
    "sklearn.datasets", "initopt_jax.models", "initopt_jax.reports.page.html",
    "initopt_jax.cli.show",
)  # fmt: skip
ACCESSES = {
    "open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate",
    "shutil.rmtree",
}  # fmt: skip


def die(kill):
    number = signal.Signals[kill.get("signal", "SIGKILL")]
    for _ in range(kill.get("times", 1)):
        os.kill(os.getpid(), number)
        time.sleep(0.05)
    if number == signal.SIGKILL:
        time.sleep(60)  # no step further, should the signal take its time


def die_after(seconds, kill):
    threading.Thread(target=lambda: (time.sleep(seconds), die(kill)), daemon=True).start()


class Life:
    """One run of a study: writes down what it has done, and ends where it is told to."""

    def __init__(self, order):
        self.arguments, self.kill = order["arguments"], order["kill"]
        self.report = order.get("report", "full")
        self.folder = str(Path(order["folder"]).resolve())
        self.log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.events = self.saves = 0
        self.locked = False
        for stream, ending in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(order["log"] + ending, os.O_WRONLY | os.O_TRUNC | os.O_CREAT), stream)

    def note(self, *words):
        os.write(self.log, (json.dumps(words) + "\n").encode())

    def on_event(self, event, arguments):
        if event not in ACCESSES or not self.locked:
            return
        place = os.fspath(arguments[0]) if isinstance(arguments[0], str | os.PathLike) else ""
        if place.startswith(self.folder):
            self.events += 1
            if self.events == self.kill.get("event"):
                if self.kill["delay"]:
                    die_after(self.kill["delay"], self.kill)
                else:
                    die(self.kill)

    def watch(self):
        """Wrap what touches the folder; every note follows the deed."""
        locked, saved = Store.locked, Store.save_checkpoint
        loaded, written = Store.load_checkpoint, Store.write_tiles

        @contextmanager
        def lock(store):
            with locked(store):
                self.locked = True
                if "after" in self.kill:
                    die_after(self.kill["after"], self.kill)
                yield

        def save(store, tile, checkpoint):
            self.saves += 1
            if self.saves == self.kill.get("save"):
                die_after(self.kill["delay"], self.kill)
            saved(store, tile, checkpoint)
            self.note("saved", tile.index, checkpoint.step)

        def load(store, tile):
            checkpoint = loaded(store, tile)
            self.note("began", tile.index, checkpoint.step if checkpoint else 0)
            return checkpoint

        def write(store, finished):
            written(store, finished)
            for tile, _, _ in finished:
                self.note("written", tile.index, tile.steps)

        Store.locked, Store.save_checkpoint = lock, save
        Store.load_checkpoint, Store.write_tiles = load, write
        sys.addaudithook(self.on_event)

    def run(self):
        self.watch()
        if "start" in self.kill:
            die_after(max(0.02, self.kill["start"]), self.kill)  # not before the command begins
        if self.report == "light":
            reports.build = light_report.build
        sys.argv = ["initopt", *self.arguments]
        commands.main()


def end_of(life):
    """Live, and leave without what the parent has open."""
    code = 99
    try:
        life.run()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - whatever it is: the child ends here
        traceback.print_exc()
    finally:
        life.note("end", life.events, life.saves)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main():
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            end_of(Life(order))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    for module in IMPORTS:
        importlib.import_module(module)
    if threading.active_count() > 1:
        sys.exit(f"threads before the first fork: {threading.enumerate()}")
    main()
