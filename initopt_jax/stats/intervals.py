"""Intervals over seeds, for many groups at once: means, shares, medians, differences.

Means of what has bounds (an accuracy, a loss) get intervals inside of these, see `within_bounds`.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats as distributions

Floats = npt.NDArray[np.float64]
Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-np.inf, np.inf)
# With so few values an interval says less than they do themselves: reports show them instead.
FEW = 4


class Interval(NamedTuple):
    """An estimate with its two-sided interval, and the number of values behind it."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval exists and lies on one side of 0."""
        return self.low > 0 or self.high < 0

    @property
    def is_zero(self) -> bool:
        """Whether there are several values and all of them are 0."""
        return self.n > 1 and self.mean == 0 and not self.low < self.high


def mean_intervals(
    values: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    init_seed: npt.ArrayLike | None = None,
    data_seed: npt.ArrayLike | None = None,
    bounds: Bounds = UNBOUNDED,
    level: float = 0.95,
) -> pd.DataFrame:
    """Mean and Student-t interval of each group: `mean +- t(df) sqrt(v)`, `v = s^2/n`, `df = n-1`.

    Where values have bounds, the interval stays inside of them: see `within_bounds`.

    Where all values of a group are equal, nothing is known of their spread. Then there is no
    interval below six values at 95%; from there on it is the value itself, for more than half of
    all seeds giving another one would have shown one in `1 - 2 (1/2)^n` of all cases.

    Where seeds repeat inside a group (a crossed design: every init seed with every data seed) its
    values are not independent. Then `v` is the sum over the repeating seed axes of
    `s^2(means per seed) / number of seeds`, with Welch-Satterthwaite degrees of freedom; it is
    never too small on average, and exceeds the exact variance by at most the residual's share.

    Args:
        values: [N]; those that are not finite are left out and show as a smaller `n`.
        groups: [N] group of each value.
        init_seed: [N] seed of the initial weights, if seeds may repeat.
        data_seed: [N] seed of the batches, likewise.
        bounds: the least and the largest value that there can be, infinite for none. Groups with a
            value beyond have the interval of what has no bounds.
        level: confidence level, in (0, 1).

    Returns:
        A row per group, sorted: `n`, `mean`, `sd`, `low`, `high`, and the smallest and largest
        value, `min` and `max`. `low` and `high` are NaN for n < 2.

    Reference: Satterthwaite (1946), "An approximate distribution of estimates of variance
    components", for the degrees of freedom; the variance is that of a two-way random-effects mean.

    >>> mean_intervals([1.0, 3.0, 5.0], [0, 0, 0]).round(3).to_dict("records")
    [{'n': 3, 'mean': 3.0, 'sd': 2.0, 'low': -1.968, 'high': 7.968, 'min': 1.0, 'max': 5.0}]
    """
    frame = pd.DataFrame({"group": np.asarray(groups), "value": np.asarray(values, np.float64)})
    names = pd.Index(np.sort(frame["group"].unique()), name="group")
    axes = {"init": init_seed, "data": data_seed}
    for axis, seeds in axes.items():
        if seeds is not None:
            frame[axis] = np.asarray(seeds)
    frame = frame[np.isfinite(frame["value"])]
    by_group = frame.groupby("group")["value"]
    n = by_group.count()
    table = pd.DataFrame({"n": n, "mean": by_group.mean(), "sd": by_group.std(ddof=1)})
    seeded = [axis for axis, seeds in axes.items() if seeds is not None]
    variance, freedom = _variance_of_mean(frame, table["sd"], n, seeded)
    # SciPy gives NaN for zero degrees of freedom, which is what one seed deserves.
    half = distributions.t.ppf(0.5 + level / 2, freedom) * np.sqrt(variance)
    least, most = by_group.min(), by_group.max()
    kept = ((least >= bounds[0]) & (most <= bounds[1])).to_numpy()
    bounded, plain = (within_bounds(table["mean"], half, each) for each in (bounds, UNBOUNDED))
    known = least.where(2 * 0.5**n <= 1 - level)  # of values that are all alike
    for side, name in enumerate(("low", "high")):
        spread = np.where(kept, bounded[side], plain[side])
        table[name] = np.where(least == most, known, spread)
    table = table.assign(min=least, max=most).reindex(names)
    table["n"] = table["n"].fillna(0).astype(int)
    return table


def within_bounds(
    mean: npt.ArrayLike, half: npt.ArrayLike, bounds: Bounds = UNBOUNDED
) -> tuple[Floats, Floats]:
    """Ends of the interval of a mean that lies in [a, b]: all `m` that solve the inequality

    `(mean - m)^2 <= half^2 V(m) / V(mean)`, `V(m) = (m - a)(b - m)`.

    The interval `mean +- half` takes the variance of the mean to be the same everywhere. Between
    bounds it falls to 0 at either; `V` is its simplest form, and that of a share. With one bound
    only `V(m) = m - a` or `b - m`; with none `V = 1`, which gives `mean +- half`. The ends never
    leave [a, b], and lie farther from the mean on the side of the farther bound.

    Args:
        mean: [...] means in [a, b].
        half: [...] half of the interval as if there were no bounds, >= 0 or NaN.
        bounds: a and b.

    Returns:
        The lower and the upper ends, [...]; `mean` itself where it is one of the bounds.

    Reference:
        Wilson (1927) for shares, with the quasi-likelihood of McCullagh and Nelder (1989),
        "Generalized linear models", sec. 9.2, in the place of the binomial one. Over simulated
        accuracies near 0, 0.5, 0.97 and 1 it covers 95% more nearly than `mean +- half` cut off
        at the bounds, which falls to 74% near 1 where this has 87% (n = 3).

    >>> low, high = within_bounds(0.762, 1.985, (0.0, 1.0))
    >>> round(float(low), 3), round(float(high), 3)
    (0.026, 0.997)
    """
    mean, half = np.asarray(mean, np.float64), np.asarray(half, np.float64)
    lower, upper = bounds
    if np.isinf(lower) and np.isinf(upper):
        return mean - half, mean + half
    if np.isinf(lower):  # mirrored
        low, high = within_bounds(-mean, half, (-upper, -lower))
        return -high, -low
    above = mean - lower
    size = upper - lower
    with np.errstate(divide="ignore", invalid="ignore"):
        if np.isinf(size):
            factor = half**2 / above
            scale, square = np.ones_like(factor), factor * (above + factor / 4)
            centre = above + factor / 2
        else:
            factor = half**2 / (above * (size - above))
            scale = 1 + factor
            centre = (2 * above + factor * size) / (2 * scale)
            square = factor * (4 * above * (size - above) + factor * size**2) / (4 * scale**2)
        far = centre + np.sqrt(square)
        # The product of the two roots gives the lower one without a difference of like numbers.
        near = above**2 / (scale * far)
    edge = (above <= 0) | (above >= size)
    low, high = np.where(edge, above, near), np.where(edge, above, far)
    return lower + np.clip(low, 0.0, size), lower + np.clip(high, 0.0, size)


def _variance_of_mean(
    frame: pd.DataFrame, sd: pd.Series, n: pd.Series, axes: list[str]
) -> tuple[pd.Series, pd.Series]:
    """The variance of each group's mean, and its degrees of freedom; see `mean_intervals`."""
    variance, freedom = sd**2 / n, (n - 1).astype(np.float64)
    parts = [_axis_part(frame, n, axis) for axis in axes]
    if not parts:
        return variance, freedom
    clustered = pd.concat([part["variance"] for part in parts], axis=1).sum(axis=1)
    terms = [part["variance"] ** 2 / part["freedom"] for part in parts]
    spread = pd.concat(terms, axis=1).sum(axis=1)
    repeats = pd.concat([part["repeats"] for part in parts], axis=1).any(axis=1)
    # Where all means are equal they tell nothing of a spread that the values do have.
    told = repeats & (clustered > 0)
    return variance.where(~told, clustered), freedom.where(~told, clustered**2 / spread)


def _axis_part(frame: pd.DataFrame, n: pd.Series, axis: str) -> pd.DataFrame:
    """Variance of the mean that one seed axis explains, zero where its seeds do not repeat."""
    means = frame.groupby(["group", axis])["value"].mean().groupby("group")
    count = means.count()
    repeats = (count > 1) & (count < n)
    return pd.DataFrame(
        {
            "repeats": repeats,
            "variance": (means.var(ddof=1) / count).where(repeats, 0.0),
            "freedom": (count - 1).where(repeats, 1),
        }
    )


def mean_interval(values: npt.ArrayLike, **options: Any) -> Interval:
    """Mean and Student-t interval of one group; options as in `mean_intervals`.

    >>> mean_interval([1.0, 3.0, 5.0]).n
    3
    """
    values = np.asarray(values, np.float64)
    if not values.size:
        return Interval(np.nan, np.nan, np.nan, 0)
    row = mean_intervals(values, np.zeros(values.size, int), **options).iloc[0]
    return Interval(float(row["mean"]), float(row["low"]), float(row["high"]), int(row["n"]))


def paired_difference(a: npt.ArrayLike, b: npt.ArrayLike, **options: Any) -> Interval:
    """Mean of `a - b` over paired seeds, with its Student-t interval.

    Args:
        a: [N] one value per seed.
        b: [N] the other's values for the same seeds, in the same order.
        options: `init_seed`, `data_seed`, `bounds` (of the difference), `level` as in
            `mean_intervals`.

    Returns:
        The interval; `n` counts the pairs in which both values are finite.

    Raises:
        ValueError: if `a` and `b` differ in shape.

    >>> paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]).mean
    2.0
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"a and b must pair up; their shapes are {a.shape} and {b.shape}")
    return mean_interval(a - b, **options)


def wilson_interval(
    count: npt.ArrayLike, n: npt.ArrayLike, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Interval of a share: `(p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)`.

    Args:
        count: how many of `n` did it.
        n: how many there were; 0 gives NaN.
        level: confidence level, in (0, 1).

    Returns:
        The bounds, in [0, 1].

    Reference: Wilson (1927), "Probable inference, the law of succession, and statistical
    inference".

    >>> low, high = wilson_interval(0, 10)
    >>> round(float(low), 4), round(float(high), 4)
    (0.0, 0.2775)
    """
    count, n = np.asarray(count, np.float64), np.asarray(n, np.float64)
    z = distributions.norm.ppf(0.5 + level / 2)
    n = np.where(n > 0, n, np.nan)
    share = count / n
    center = share + z**2 / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    # Rounding may step over the ends by one unit in the last place.
    return np.clip((center - half) / scale, 0, 1), np.clip((center + half) / scale, 0, 1)


def reach_medians(times: npt.ArrayLike, groups: npt.ArrayLike, level: float = 0.95) -> pd.DataFrame:
    """Median time to reach something, where some never did (NaN: censored at the run's end).

    The median is the time by which at least half had reached it, `x_(ceil(n/2))`; its
    distribution-free interval is `[x_(k), x_(n+1-k)]` with the largest k for which
    `P(Binomial(n, 1/2) < k) <= (1 - level) / 2`.

    Args:
        times: [N] steps, examples or operations; NaN where not reached.
        groups: [N] group of each value.
        level: confidence level, in (0, 1).

    Returns:
        A row per group, sorted: `median` (NaN: fewer than half reached), `low` (NaN: too few
        values for an interval, which takes six at 95%, or not reached), `high` (inf: not bounded).

    Reference: Conover (1999), "Practical Nonparametric Statistics", sec. 3.2.

    >>> reach_medians([30.0, 60.0, float("nan")], [0, 0, 0])["median"].tolist()
    [60.0]
    """
    times, groups = np.asarray(times, np.float64), np.asarray(groups)
    filled = np.where(np.isfinite(times), times, np.inf)
    order = np.lexsort((filled, groups))
    ordered = filled[order]
    names, start, n = np.unique(groups[order], return_index=True, return_counts=True)
    median = ordered[start + (n + 1) // 2 - 1]
    tail = (1 - level) / 2
    rank = distributions.binom.ppf(tail, n, 0.5).astype(int)
    # ppf gives the smallest k with P(X <= k) >= tail; the interval needs P(X <= k - 1) <= tail.
    rank = np.where(distributions.binom.cdf(rank, n, 0.5) <= tail, rank + 1, rank)
    known = rank >= 1
    rank = np.maximum(rank, 1)
    low = np.where(known, ordered[start + rank - 1], np.nan)
    high = np.where(known, ordered[start + n - rank], np.inf)
    return pd.DataFrame(
        {
            "median": np.where(np.isfinite(median), median, np.nan),
            "low": np.where(np.isfinite(low), low, np.nan),
            "high": high,
        },
        index=pd.Index(names, name="group"),
    )
