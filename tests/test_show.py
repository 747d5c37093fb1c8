"""What the command line shows while a study runs."""

import pytest

from initopt_jax import show
from initopt_jax.training import Tally


def test_plain_progress_says_what_is_done_and_left(monkeypatch, capsys):
    """No terminal: a line at most every ten seconds, without a guess before there is a rate."""
    clock = iter([0.0, 5.0, 20.0, 20.0, 40.0, 40.0])
    monkeypatch.setattr(show.time, "perf_counter", lambda: next(clock))
    with show.progress() as update:
        tally = Tally(lanes=8, lane_steps=8000, lanes_done=0, lane_steps_done=0, resumed_steps=0)
        update(tally)  # after 5 s: too soon for a line
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(show, "_rate", lambda tally, began: 0.0)
            clock = iter([20.0, 20.0])
            update(tally)
        tally.lanes_done, tally.lane_steps_done, tally.diverged = 2, 2000, 1
        clock = iter([40.0, 40.0, 40.0])
        update(tally)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "0/8 lanes, 0 lane-steps/s, 0 diverged",
        "2/8 lanes, 50 lane-steps/s, 1 diverged, about 120 s left",
    ]


def test_resumed_work_does_not_count_as_speed():
    tally = Tally(lanes=2, lane_steps=900, lanes_done=1, lane_steps_done=600, resumed_steps=600)
    assert show._rate(tally, began=0.0) == 0.0
