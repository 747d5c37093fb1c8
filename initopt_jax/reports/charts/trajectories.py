"""Where optimizers went on a test function of two variables: starts, paths and ends."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from initopt_jax.reports.charts.numbers import rate
from initopt_jax.reports.charts.palette import Style
from initopt_jax.reports.charts.results import Results
from initopt_jax.reports.charts.scales import Floats
from initopt_jax.reports.charts.surface import Integers, Surface, outcomes
from initopt_jax.stats.cells import RATE

# Where a spread of starts is looked for, as shares of the starts' range: near the edges, from where
# the way is long, and off the axes of symmetry.
SPREAD = ((0.08, 0.55), (0.60, 0.06), (0.93, 0.62), (0.42, 0.93))

CROWDED = 0.1  # starts nearer than this share of the range would be drawn over each other


@dataclass(frozen=True)
class Trajectories:
    """One optimizer's way from each start.

    Attributes:
        label: the optimizer.
        style: its colour.
        setting: its chosen hyperparameters in words.
        path: [S, E, 2] points at the evaluations, the start first; NaN after divergence.
        step: [S, E] the step of each evaluation; NaN past a lane's last.
        diverged: [S] whether the value left the finite numbers.
        steps: [S] steps to the target; NaN where it was never reached.
    """

    label: str
    style: Style
    setting: str
    path: Floats
    step: Floats
    diverged: npt.NDArray[np.bool_]
    steps: Floats

    @property
    def start(self) -> Floats:
        """[S, 2] first points."""
        return self.path[:, 0]

    @property
    def end(self) -> Floats:
        """[S, 2] last finite points."""
        return self.path[np.arange(len(self.path)), last_finite(self.path)]

    @property
    def solved(self) -> float:
        """The share of starts from which the target was reached."""
        return float(np.isfinite(self.steps).mean()) if len(self.steps) else np.nan

    @property
    def median(self) -> float:
        """Median steps to the target, infinite where fewer than half of the starts reached it."""
        known = np.where(np.isfinite(self.steps), self.steps, np.inf)
        return float(np.quantile(known, 0.5, method="inverted_cdf")) if known.size else np.nan

    def only(self, lanes: Sequence[int] | Integers) -> "Trajectories":
        """The same optimizer from some of its starts."""
        keep = np.asarray(lanes, np.int64)
        return Trajectories(
            self.label,
            self.style,
            self.setting,
            self.path[keep],
            self.step[keep],
            self.diverged[keep],
            self.steps[keep],
        )


def all_starts(trajectories: Sequence[Trajectories]) -> Floats:
    """[S, 2] every distinct start, by the first lane that has it."""
    starts = np.concatenate([one.start for one in trajectories] or [np.zeros((0, 2))])
    return starts[first_of_each_start(starts)]


def make_trajectories(results: Results) -> tuple[Trajectories, ...]:
    """Each optimizer's reported lanes at the chosen setting of every initializer."""
    dataset, lanes = results.dataset, results.lanes
    point, step = (dataset[name].values.astype(np.float64) for name in ("point", "step"))
    diverged = dataset["diverged"].values.astype(bool)
    never = np.full(len(point), np.nan)
    steps = dataset["steps_to_target"].values if "steps_to_target" in dataset else never
    place = dataset.get_index("lane")
    made = []
    for optimizer, style in results.optimizer_styles.items():
        best = results.best[results.best["optimizer"] == optimizer]
        own = lanes.index[lanes["cell"].isin(best["cell"]) & (lanes["role"] == "report")]
        rows = place.get_indexer(own)
        rows = rows[rows >= 0]
        rates = best[RATE].dropna().unique() if RATE in best else []
        low, high = (
            (rate(float(end)) for end in (min(rates), max(rates))) if len(rates) else ("", "")
        )
        text = f"rate {low}" if low == high else f"rates {low} to {high}"
        made.append(
            Trajectories(
                label=optimizer,
                style=style,
                setting=text if low else "",
                path=np.where(np.isfinite(step[rows])[:, :, None], point[rows], np.nan),
                step=step[rows],
                diverged=diverged[rows],
                steps=steps[rows].astype(np.float64),
            )
        )
    return tuple(one for one in made if len(one.path))


def last_finite(path: Floats) -> Integers:
    """[S] index of each path's last finite point, 0 where none is.

    >>> last_finite(np.array([[[0.0, 0.0], [1.0, 1.0], [np.nan, 2.0]]])).tolist()
    [1]
    """
    finite = np.asarray(np.isfinite(path).all(axis=2))
    last = finite.shape[1] - 1 - np.argmax(finite[:, ::-1], axis=1)
    return np.where(finite.any(axis=1), last, 0)


def first_of_each_start(start: Floats) -> Integers:
    """The first lane of each distinct start, in lane order: seeds may share a start.

    >>> first_of_each_start(np.array([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]])).tolist()
    [0, 1]
    """
    _, first = np.unique(start, axis=0, return_index=True)
    return np.sort(first).astype(np.int64)


def spread_starts(start: Floats, most: int = len(SPREAD)) -> Floats:
    """A few starts, far from each other and the same in every figure.

    Of the starts at hand those nearest to fixed places of their range; instead of one that lies
    close to one that was taken, the start that lies farthest from all of these.

    Args:
        start: [S, 2] points.
        most: how many at most, up to four.

    Returns:
        [K, 2], K <= most.
    """
    if not len(start):
        return start
    low, high = start.min(axis=0), start.max(axis=0)
    size = np.where(high > low, high - low, 1.0)
    shares = (start - low) / size
    found: list[int] = []
    for place in SPREAD[:most]:
        lane = int(np.hypot(*(shares - np.array(place)).T).argmin())
        if found:
            apart = np.hypot(*np.moveaxis(shares[:, None] - shares[None, found], 2, 0)).min(axis=1)
            lane = lane if apart[lane] > CROWDED else int(apart.argmax())
            if apart[lane] <= CROWDED:
                break
        found.append(lane)
    return start[found]


def lanes_from(start: Floats, wanted: Floats) -> Integers:
    """The first lane at each wanted start; starts that are not there are left out.

    >>> lanes_from(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 1.0], [5.0, 5.0]])).tolist()
    [1]
    """
    found = [np.flatnonzero((start == point).all(axis=1)) for point in wanted]
    return np.array([lanes[0] for lanes in found if len(lanes)], np.int64)


def telling_start(trajectories: Sequence[Trajectories], starts: Floats, surface: Surface) -> Floats:
    """Of some starts the one that tells the optimizers apart best, [1, 2].

    The start with the most different outcomes; of equals, the one from which the number of
    optimizers that reach the target lies nearest to half of them; of these, the one with the
    largest spread of the logarithm of the steps.
    """
    scores = []
    for place, point in enumerate(starts):
        found = [one.only(lanes_from(one.start, point[None])) for one in trajectories]
        ends = [set(outcomes(one.end, one.diverged, surface).tolist()) for one in found]
        times = np.concatenate([one.steps for one in found] or [np.zeros(0)])
        solved = times[np.isfinite(times)]
        far = abs(len(solved) / max(len(times), 1) - 0.5)
        width = float(np.ptp(np.log(np.maximum(solved, 1.0)))) if len(solved) else 0.0
        scores.append((-len(set().union(*ends)), far, -width, place))
    return starts[[min(scores)[-1]]] if scores else starts
