"""Sentences about optimizers on a cost function of two variables, computed from the numbers."""

from collections.abc import Sequence

import numpy as np

from initopt_jax.reports.journeys import Journeys, first_of_each_start
from initopt_jax.reports.landscape import MotionChart, TrailChart, share_text
from initopt_jax.reports.numbers import count, listed
from initopt_jax.reports.scales import Floats
from initopt_jax.reports.surface import (
    DIVERGED,
    ELSEWHERE,
    Integers,
    Surface,
    outcome_name,
    outcomes,
)
from initopt_jax.stats import beats, wilson_interval


def common_starts(journeys: Sequence[Journeys]) -> list[Journeys]:
    """The same optimizers from the starts that all of them have, once each and in one order."""
    shared: set[tuple[float, ...]] | None = None
    for one in journeys:
        own = set(map(tuple, one.start.tolist()))
        shared = own if shared is None else shared & own
    order = sorted(shared or set())
    made = []
    for one in journeys:
        first = first_of_each_start(one.start)
        place = {tuple(one.start[lane].tolist()): int(lane) for lane in first}
        made.append(one.only([place[start] for start in order]))
    return made


def speed_sentences(journeys: Sequence[Journeys], target: str) -> list[str]:
    """Who reaches the target most often, who fastest, and whom the fastest beats."""
    known = [one for one in journeys if len(one.steps)]
    if not any(np.isfinite(one.steps).any() for one in known):
        return [f"No optimizer reached {target} from any start."]
    most = max(known, key=lambda one: one.solved)
    solved, total = int(np.isfinite(most.steps).sum()), len(most.steps)
    equal = [one.label for one in known if one.solved == most.solved]
    low, high = (float(bound) for bound in wilson_interval(solved, total))
    text = f"Reached {target} most often: {listed(equal)}, from {solved} of {total} starts"
    text += f" (95% interval {100 * low:.0f}% to {100 * high:.0f}%)"
    arrived = [one for one in known if np.isfinite(one.median)]
    if not arrived:
        return [text + "; no optimizer did from half of its starts."]
    fast = min(arrived, key=lambda one: one.median)
    steps = count(fast.median)
    text += f". Fastest: {fast.label}, which had solved half of its starts by step {steps}."
    return [text, *_beaten_sentence(known, fast)]


def _beaten_sentence(journeys: Sequence[Journeys], fast: Journeys) -> list[str]:
    same = common_starts(journeys)
    if len(same) < 2 or not len(same[0].steps):
        return []
    won = beats(np.stack([one.steps for one in same], axis=1))
    place = [one.label for one in same].index(fast.label)
    beaten = [one.label for one, yes in zip(same, won[place], strict=True) if yes]
    level = [
        one.label
        for one, yes in zip(same, won[place], strict=True)
        if not yes and one.label != fast.label
    ]
    text = f"Start by start, {fast.label} was faster than "
    if not beaten:
        return [f"{text}no other more often than chance explains ({_number(len(same[0].steps))})."]
    text += f"{listed(beaten)} more often than chance explains"
    return [f"{text}; of {listed(level)} this cannot be said." if level else f"{text}."]


def _number(starts: int) -> str:
    return "one start" if starts == 1 else f"{starts} starts"


def basin_sentence(journeys: Sequence[Journeys], surface: Surface) -> str:
    """From how many starts all optimizers end alike, and which one goes astray most."""
    same = common_starts(journeys)
    if not same or not len(same[0].start):
        return "No start is common to all optimizers."
    ends = np.stack([outcomes(one.end, one.diverged, surface) for one in same], axis=1)
    total = len(ends)
    if len(same) == 1:
        return f"{same[0].label}: {_told(ends[:, 0], surface)}, of {_number(total)}."
    alike = int((ends == ends[:, :1]).all(axis=1).sum())
    what = "at the same minimum" if len(surface.minima) else "on the same side"
    none = int(((ends == ends[:, :1]).all(axis=1) & (ends[:, 0] == ELSEWHERE)).sum())
    text = f"From {alike} of {_number(total)} all optimizers ended "
    text += f"alike ({alike - none} times {what})" if none else what
    lost = np.isin(ends, [ELSEWHERE, DIVERGED]).mean(axis=0)
    if not lost.any():
        return text + (
            "; every path ended at a known minimum." if len(surface.minima) else "; all left."
        )
    worst, best = int(lost.argmax()), int(lost.argmin())
    missed = "reached no known minimum" if len(surface.minima) else "did not get away"
    text += f". Most paths that {missed}: {same[worst].label}, {share_text(float(lost[worst]))}"
    return text + f"; fewest: {same[best].label}, {share_text(float(lost[best]))}."


def _told(outcome: Integers, surface: Surface) -> str:
    values, many = np.unique(outcome, return_counts=True)
    names = [outcome_name(int(value), surface) for value in values]
    return listed([f"{name} {number} times" for name, number in zip(names, many, strict=True)])


def trail_sentence(chart: TrailChart) -> str:
    """Whose way was the shortest and whose the longest, of those that stayed finite."""
    found = []
    for one in chart.panels:
        kept = one.path[~one.diverged]
        if len(kept):
            found.append((float(np.mean(lengths(kept))), one.label))
    if not found:
        return "Every path shown diverged."
    if len(found) == 1:
        return f"{found[0][1]}: paths of length {found[0][0]:.3g} on average."
    short, long = min(found), max(found)
    return (
        f"Shortest ways: {short[1]}, {short[0]:.3g} on average over the starts shown; longest: "
        f"{long[1]}, {long[0]:.3g}."
    )


def motion_sentence(chart: MotionChart) -> str:
    """In which order the target is reached from the start of the film."""
    arrived = sorted(
        (float(one.steps[0]), one.label) for one in chart.journeys if np.isfinite(one.steps[0])
    )
    if not arrived:
        return "From this start no optimizer reaches a target."
    late = [one.label for one in chart.journeys if not np.isfinite(one.steps[0])]
    text = (
        f"The target is reached by {listed([f'{name} at step {count(n)}' for n, name in arrived])}"
    )
    return f"{text}; never by {listed(late)}." if late else f"{text}."


def lengths(path: Floats) -> Floats:
    """[S] lengths of paths [S, E, 2] as drawn: straight between evaluations.

    >>> lengths(np.array([[[0.0, 0.0], [3.0, 4.0], [3.0, 5.0]]])).tolist()
    [6.0]
    """
    return np.nansum(np.hypot(*np.moveaxis(np.diff(path, axis=1), 2, 0)), axis=1)
