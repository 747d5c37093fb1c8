"""What workers tell: programs compiled, segments done, tiles saved and finished."""

from typing import NamedTuple

import numpy as np

from initopt_jax.engine.plan import Tile


class Checkpoint(NamedTuple):
    """A tile in mid-run on the host: arrays only, so that it can be stored and taken up again.

    leaves: of the LaneState, in order, without empty ones. record: see `worker.Run`, filled up to
    the last evaluation. interval_loss: [W], the sum of step losses since then.
    """

    step: int
    leaves: list[np.ndarray]
    record: dict[str, np.ndarray]
    interval_loss: np.ndarray


class Compiled(NamedTuple):
    """A training program was compiled on a device."""

    program: int
    device: str
    seconds: float


class Progress(NamedTuple):
    """A segment of a tile was dispatched: lane-steps done by its real lanes."""

    tile: Tile
    lane_steps: int


class Saved(NamedTuple):
    """A tile's checkpoint, to be stored."""

    tile: Tile
    checkpoint: Checkpoint


class Probed(NamedTuple):
    """A probe was taken of a tile, so many times, in so many seconds besides its compilation.

    Under `grads` and `updates`: what was computed once for all probes that ask for these.
    """

    probe: str
    times: int
    seconds: float
    compile_seconds: float


class Finished(NamedTuple):
    """A tile's raw record (see `records.complete`), its real lanes only, and its seconds.

    skipped: lane-steps that its real lanes were spared by ending early. evaluating: how many of the
    seconds went into evaluations, by the first of them; None where that one was compiled.
    """

    tile: Tile
    record: dict[str, np.ndarray]
    seconds: float
    skipped: int = 0
    evaluating: float | None = None


Event = Compiled | Progress | Probed | Saved | Finished
