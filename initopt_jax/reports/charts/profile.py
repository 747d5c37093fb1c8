"""Charts of who solves how much how fast: shares of starts by steps, and performance profiles."""

from collections.abc import Sequence

import numpy as np

from initopt_jax.reports.charts.descriptions import LineChart, Panel, Series
from initopt_jax.reports.charts.palette import BOLD, Style, styles
from initopt_jax.reports.charts.scales import Floats
from initopt_jax.reports.charts.trajectories import Trajectories
from initopt_jax.stats import performance_ratios, solved_share

MOST_FACTOR = 100.0  # a profile is drawn up to this factor


def solved_chart(trajectories: Sequence[Trajectories], target: str) -> LineChart | None:
    """The share of starts that reached the target against steps; None where nobody did."""
    times = np.concatenate([one.steps for one in trajectories] or [np.zeros(0)])
    if not np.isfinite(times).any():
        return None
    longest = max(float(np.nanmax(one.step)) for one in trajectories)
    known = times[np.isfinite(times) & (times > 0)]
    first = float(known.min()) if known.size else 1.0
    lines = tuple(
        stairs(one.label, one.style, one.steps, (first, max(longest, first)))
        for one in trajectories
    )
    return LineChart(
        title=f"Share of starts that reached {target}, against steps",
        x_label="steps",
        y_label="share of starts solved",
        panels=(Panel("", lines),),
        columns=1,
        x_scale="log",
        y_range=(0.0, 1.03),
        metric="share",
        direct=True,
        foot="Higher is better: a curve's height at its end is the share of starts that were solved"
        " at all. The steps are those of the evaluation at which the target was first seen to be "
        "met.",
    )


def stairs(label: str, style: Style, times: Floats, span: tuple[float, float]) -> Series:
    """One solver's rising share as the corners of a staircase over a span of times."""
    inside = np.unique(np.clip(times[np.isfinite(times)], span[0], span[1]))
    at = np.concatenate([[span[0]], np.repeat(inside, 2), [span[1]]])
    after = solved_share(times, inside)
    before = solved_share(times, np.nextafter(inside, 0))
    height = np.stack([before, after], axis=1).ravel()
    ends = solved_share(times, np.array(span))
    y = np.concatenate([[ends[0]], height, [ends[1]]])
    y[at <= span[0]] = ends[0]  # what is solved at the left edge is no jump there
    empty = np.full(len(at), np.nan)
    return Series(label, style, at, y, empty, empty)


def profile_chart(labels: Sequence[str], times: Floats, what: str) -> LineChart | None:
    """Performance profiles: the share of problems solved within a factor of the fastest.

    Args:
        labels: of the S solvers, in the order of their colours.
        times: [P, S] steps to the target; NaN where it was never reached.
        what: a problem in a few words, such as `functions and starts`.

    Returns:
        The chart; None where nothing was solved.

    Reference:
        Dolan and More (2002), "Benchmarking optimization software with performance profiles".
    """
    ratios = performance_ratios(times)
    known = ratios[np.isfinite(ratios)]
    if not known.size:
        return None
    last = 1.05 * float(np.clip(known.max(), 1.5, MOST_FACTOR))
    looks = styles(labels, BOLD)
    shown = np.where(ratios <= last, ratios, np.inf)
    lines = tuple(
        stairs(label, looks[label], shown[:, place], (1.0, last))
        for place, label in enumerate(labels)
    )
    return LineChart(
        title=f"Performance profiles over {len(ratios):,} problems ({what})",
        x_label="factor of the steps of the fastest optimizer on the same problem",
        y_label="share of problems solved",
        panels=(Panel("", lines),),
        columns=1,
        x_scale="log",
        y_range=(0.0, 1.03),
        metric="share",
        direct=True,
        foot="Higher is better. At factor 1: how often an optimizer was the fastest; at the right: "
        "how often it arrived at all. Problems that none solved count in all shares.",
    )
