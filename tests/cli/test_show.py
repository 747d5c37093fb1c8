"""What the command line shows while a study runs."""

import numpy as np

from initopt_jax.cli import show
from initopt_jax.engine.plan import Tile
from initopt_jax.studies.training import StudyProgress


def test_plain_progress_says_what_is_done_and_left(monkeypatch, capsys):
    """No terminal: a line at most every ten seconds; a guess says what it rests on."""
    now = 0.0
    monkeypatch.setattr(show.time, "perf_counter", lambda: now)
    tile = Tile(0, 0, 1000, np.arange(8))
    with show.progress() as update:
        counts = StudyProgress(8, 8000, 0, 0, 0, weights={0: 1.0}, notes=("evaluation is much",))
        now = 5.0
        update(counts)  # too soon for a line, not for a note
        now = 20.0
        update(counts)
        counts.advance(tile, 2000, now)
        now = 40.0
        counts.advance(tile, 2000, now)
        update(counts)
        now = 100.0
        counts.ended, counts.diverged = 1, 1
        update(counts)
    assert capsys.readouterr().err.splitlines() == [
        "note: evaluation is much",
        "0/8 lanes, 0 lane-steps/s, 0 diverged, time left not known yet",
        "0/8 lanes, 100 lane-steps/s, 0 diverged, about 40 seconds left by the first tiles so far",
        "0/8 lanes, 40 lane-steps/s, 1 diverged, about 2 minutes 40 seconds left",
    ]


def test_resumed_work_does_not_count_as_speed():
    counts = StudyProgress(
        lanes=2, lane_steps=900, lanes_done=1, lane_steps_done=600, resumed_steps=600
    )
    assert show._rate(counts, began=0.0) == 0.0
