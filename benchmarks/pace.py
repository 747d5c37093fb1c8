"""Clocks that all contenders share."""

import time
from collections.abc import Callable, Iterator

import numpy as np

WARM_UP = 50  # steps before the clock starts, or fewer where they take longer than this:
WARM_UP_SECONDS = 1.0
LEAST_WARM = 3  # compiling happens in the first step or two, however long it takes

Timed = Callable[[float], float]
"""Trains for about so many seconds; returns training steps per second."""


def index_batches(examples: int, batch: int, seed: int) -> Iterator[np.ndarray]:
    """Epoch after epoch of shuffled example numbers, in whole batches."""
    random = np.random.default_rng(seed)
    whole = examples // batch
    while True:
        yield from random.permutation(examples)[: whole * batch].reshape(whole, batch)


def paced(step: Callable[[], None], finish: Callable[[], None], seconds: float) -> float:
    """Steps per second of `step`, once warm; `finish` waits for what still runs."""
    began, warm = time.perf_counter(), 0
    while warm < LEAST_WARM or (warm < WARM_UP and time.perf_counter() - began < WARM_UP_SECONDS):
        step()
        warm += 1
    finish()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        steps += 1
    finish()
    return steps / (time.perf_counter() - began)
