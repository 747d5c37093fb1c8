"""Charts of optimizers on a test function of two variables: trails, basins, speed and motion."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initopt_jax.reports.charts.numbers import count, listed
from initopt_jax.reports.charts.palette import MUTED
from initopt_jax.reports.charts.scales import Floats
from initopt_jax.reports.charts.surface import (
    ANOTHER,
    DIVERGED,
    ELSEWHERE,
    LEFT,
    NEARNESS,
    Integers,
    Surface,
    outcome_name,
    outcomes,
)
from initopt_jax.reports.charts.trajectories import (
    Trajectories,
    all_starts,
    first_of_each_start,
    lanes_from,
    spread_starts,
    telling_start,
)
from initopt_jax.stats import beats, wilson_interval

MOST_FRAMES = 60
HARD_SPACE = "\u00a0"
SHARES_WIDTH = 38  # letters across a panel
LOST, NOWHERE, OTHER = "#1b1f24", "#d9dce0", "#e6cfa8"


@dataclass(frozen=True)
class TrailChart:
    """A panel per optimizer: its paths from the same few starts over its contours."""

    title: str
    surface: Surface
    panels: tuple[Trajectories, ...]
    headings: tuple[tuple[str, str], ...]
    columns: int
    foot: str = ""


@dataclass(frozen=True)
class BasinPanel:
    """One optimizer's starts and what became of each."""

    heading: str
    shares: str
    start: Floats
    outcome: Integers


@dataclass(frozen=True)
class BasinChart:
    """A panel per optimizer: every start coloured by where it ended."""

    title: str
    surface: Surface
    panels: tuple[BasinPanel, ...]
    names: dict[int, str]
    colors: dict[int, str]
    columns: int
    foot: str = ""


@dataclass(frozen=True)
class MotionChart:
    """All optimizers from one start, to be shown as an animation; `frames` are evaluations."""

    title: str
    surface: Surface
    trajectories: tuple[Trajectories, ...]
    frames: Integers
    foot: str = ""


MapChart = TrailChart | BasinChart | MotionChart


def columns_for(panels: int) -> int:
    """How many panels stand side by side: rows of about equal length, at most four (many: five).

    >>> [columns_for(n) for n in (1, 3, 4, 5, 6, 7, 9, 26)]
    [1, 3, 4, 3, 3, 4, 3, 4]
    """
    if panels <= 4:
        return max(panels, 1)
    return min((3, 4) if panels <= 12 else (4, 5), key=lambda n: (-panels % n, -n))


def trail_chart(trajectories: Sequence[Trajectories], surface: Surface, setting: str) -> TrailChart:
    """Paths over contours: a panel per optimizer, the same few starts in each."""
    starts = spread_starts(all_starts(trajectories))
    panels = tuple(one.only(lanes_from(one.start, starts)) for one in trajectories)
    many = "from the same start" if len(starts) == 1 else f"from the same {len(starts)} starts"
    marks = "Hollow circle: start; dot: end; cross: the value became infinite"
    if len(surface.minima):
        marks += "; star: known minimum"
    if len(surface.minima) > len(surface.named):
        marks += " (small ring: another one)"
    shades = (
        "equal ratios of the value above its lowest value here, light is low"
        if len(surface.minima)
        else "equal steps of the value, light is low"
    )
    return TrailChart(
        title=f"{surface.name}: the way down {many}",
        surface=surface,
        panels=panels,
        headings=tuple((one.label, _result(one, setting)) for one in trajectories),
        columns=columns_for(len(panels)),
        foot=f"{marks}. Contours: {shades}. Paths are drawn between evaluations.",
    )


def _result(one: Trajectories, setting: str) -> str:
    """The chosen setting, and over all starts the share that were solved, and how fast."""
    text = one.setting or setting
    if not np.isfinite(one.steps).any():
        return text
    half = f", half by step {count(one.median)}" if np.isfinite(one.median) else ""
    return f"{text}: {share_text(one.solved)} solved{half}"


def basin_chart(trajectories: Sequence[Trajectories], surface: Surface) -> BasinChart:
    """What each start's end was, as a map of the starts: a panel per optimizer."""
    panels, seen = [], set()
    for one in trajectories:
        found = one.only(first_of_each_start(one.start))
        outcome = outcomes(found.end, found.diverged, surface)
        seen |= set(outcome.tolist())
        shares = _wrapped(shares_text(outcome, surface))
        panels.append(BasinPanel(one.label, shares, found.start, outcome))
    known = sorted(seen | set(range(len(surface.named))), key=_legend_order)
    minima = len(surface.minima)
    what = "which minimum is reached" if minima > 1 else "where the minimum is reached"
    near = (
        f"An end belongs to the nearest known minimum if it lies within {surface.tolerance:.2g} of "
        f"it ({100 * NEARNESS:.1f}% of the domain's diagonal)."
        if minima
        else "This function has no minimum: the colour tells by which side the path had left the "
        "domain at its last evaluation."
    )
    return BasinChart(
        title=f"{surface.name}: {what if minima else 'where paths end'}, by start",
        surface=surface,
        panels=tuple(panels),
        names={k: outcome_name(k, surface) for k in known},
        colors={k: outcome_color(k) for k in known},
        columns=columns_for(len(panels)),
        foot=f"Each square is a start. {near}",
    )


def _wrapped(shares: str) -> str:
    """Lines as wide as a panel that break after commas only."""
    kept = shares.replace(" ", HARD_SPACE).replace("," + HARD_SPACE, ", ")
    return textwrap.fill(kept, SHARES_WIDTH).replace(HARD_SPACE, " ")


def outcome_color(outcome: int) -> str:
    """A colour per outcome: minima in their order, grey for none of them, black for divergence.

    >>> outcome_color(0), outcome_color(-1)
    ('#332288', '#d9dce0')
    """
    if outcome >= 0:
        return MUTED[outcome % len(MUTED)]
    if outcome in (DIVERGED, ELSEWHERE, ANOTHER):
        return {DIVERGED: LOST, ELSEWHERE: NOWHERE, ANOTHER: OTHER}[outcome]
    return MUTED[LEFT - outcome]


def shares_text(outcome: Integers, surface: Surface) -> str:
    """The share of starts with each outcome, in the legend's order; what did not occur is left out.

    >>> flat = np.zeros(2)
    >>> plain = Surface("f", flat, flat, flat[None], np.array([[3, 2]]), (0, 4, 0, 4), (0, 4, 0, 4))
    >>> shares_text(np.array([0, 0, 0, -1]), plain)
    'A 75%, none 25%'
    """
    values, many = np.unique(outcome, return_counts=True)
    counts = dict(zip(values.tolist(), many.tolist(), strict=True))
    parts = []
    for value in sorted(counts, key=_legend_order):
        name = outcome_name(value, surface).partition(" (")[0]
        for long, short in SHORT.items():
            name = name.replace(long, short)
        parts.append(f"{name} {share_text(counts[value] / len(outcome))}")
    return ", ".join(parts)


SHORT = {"out at the ": "", "none of them": "none", "another minimum": "another"}


def _legend_order(outcome: int) -> tuple[int, int]:
    """Minima by letter, then others, then by side, then none, and last what diverged."""
    last = {ANOTHER: 1, ELSEWHERE: 3, DIVERGED: 4}
    return (0, outcome) if outcome >= 0 else (last.get(outcome, 2), -outcome)


def share_text(share: float) -> str:
    """A share in percent that shows 0% and 100% only where they are exact.

    >>> share_text(0.999), share_text(1.0), share_text(0.001), share_text(0.3)
    ('>99%', '100%', '<1%', '30%')
    """
    if 0 < share < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= share < 1 else f"{100 * share:.0f}%"


def motion_chart(trajectories: Sequence[Trajectories], surface: Surface) -> MotionChart:
    """All optimizers from the start that tells them apart best."""
    start = telling_start(trajectories, spread_starts(all_starts(trajectories)), surface)
    chosen = tuple(one.only(lanes_from(one.start, start)) for one in trajectories)
    chosen = tuple(one for one in chosen if len(one.path))
    x, y = start[0] if len(start) else (np.nan, np.nan)
    most = max((one.path.shape[1] for one in chosen), default=1)
    frames = film_frames(most)
    return MotionChart(
        title=f"{surface.name}: all optimizers from ({x:.3g}, {y:.3g})".replace("-", "−"),
        surface=surface,
        trajectories=chosen,
        frames=frames,
        foot="Time runs faster towards the end." if len(frames) < most else "",
    )


def film_frames(evals: int, most: int = MOST_FRAMES) -> Integers:
    """Which evaluations an animation shows: all of a few, else denser at first, where most happens.

    >>> film_frames(4).tolist()
    [0, 1, 2, 3]
    >>> film_frames(101, 6).tolist()
    [0, 4, 16, 36, 64, 100]
    """
    if evals <= most:
        return np.arange(evals, dtype=np.int64)
    return np.unique((np.linspace(0, 1, most) ** 2 * (evals - 1)).round().astype(np.int64))


def common_starts(trajectories: Sequence[Trajectories]) -> list[Trajectories]:
    """The same optimizers from the starts that all of them have, once each and in one order."""
    shared: set[tuple[float, ...]] | None = None
    for one in trajectories:
        own = set(map(tuple, one.start.tolist()))
        shared = own if shared is None else shared & own
    order = sorted(shared or set())
    made = []
    for one in trajectories:
        first = first_of_each_start(one.start)
        place = {tuple(one.start[lane].tolist()): int(lane) for lane in first}
        made.append(one.only([place[start] for start in order]))
    return made


def speed_sentences(trajectories: Sequence[Trajectories], target: str) -> list[str]:
    """Who reaches the target most often, who fastest, and whom the fastest beats."""
    known = [one for one in trajectories if len(one.steps)]
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


def _beaten_sentence(trajectories: Sequence[Trajectories], fast: Trajectories) -> list[str]:
    same = common_starts(trajectories)
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


def basin_sentence(trajectories: Sequence[Trajectories], surface: Surface) -> str:
    """From how many starts all optimizers end alike, and which one goes astray most."""
    same = common_starts(trajectories)
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
    """In which order the target is reached from the start of the animation."""
    arrived = sorted(
        (float(one.steps[0]), one.label) for one in chart.trajectories if np.isfinite(one.steps[0])
    )
    if not arrived:
        return "From this start no optimizer reaches a target."
    late = [one.label for one in chart.trajectories if not np.isfinite(one.steps[0])]
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
