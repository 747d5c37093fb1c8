"""Performance profiles and places: many solvers on many problems, and who is how far behind."""

import numpy as np
import numpy.typing as npt

from initopt_jax.stats.intervals import wilson_interval

Floats = npt.NDArray[np.float64]


def performance_ratios(times: npt.ArrayLike) -> Floats:
    """How many times longer each solver took than the problem's fastest, `r = t / min t`.

    Args:
        times: [P, S] times of P problems and S solvers, >= 0; NaN or infinite: never solved. Times
            below 1 count as 1 (a start that is solved before the first step).

    Returns:
        [P, S], at least 1; infinite where a solver never arrived, and in the whole row of a problem
        that nobody solved.

    Raises:
        ValueError: if the times are no matrix or a time is negative.

    Reference:
        Dolan and More (2002), "Benchmarking optimization software with performance profiles",
        section 2, where `r_{p,s} = t_{p,s} / min_s t_{p,s}`.

    >>> performance_ratios([[10.0, 20.0], [float("nan"), 5.0]]).tolist()
    [[1.0, 2.0], [inf, 1.0]]
    """
    known = np.asarray(times, np.float64)
    if known.ndim != 2:
        raise ValueError(f"times must have the shape (problems, solvers), not {known.shape}")
    if (known < 0).any():
        raise ValueError("times must not be negative")
    known = np.where(np.isfinite(known), np.maximum(known, 1.0), np.inf)
    least = known.min(axis=1, initial=np.inf, keepdims=True)
    # A problem that nobody solved: infinity over infinity is undefined, not 1.
    return np.where(np.isfinite(known), known / np.where(np.isfinite(least), least, 1.0), np.inf)


def performance_profile(ratios: npt.ArrayLike, factors: npt.ArrayLike) -> Floats:
    """The share of all problems solved within a factor of the fastest, `rho(tau) = #{r <= tau}/P`.

    Args:
        ratios: [P, S] as given by `performance_ratios`.
        factors: [T] values of tau, >= 1.

    Returns:
        [T, S] shares in [0, 1], rising along T; NaN without problems.

    Reference:
        Dolan and More (2002), section 2, definition of `rho_s(tau)`.

    >>> performance_profile([[1.0, 2.0], [float("inf"), 1.0]], [1.0, 2.0]).tolist()
    [[0.5, 0.5], [0.5, 1.0]]
    """
    known = np.asarray(ratios, np.float64)
    within = known[None] <= np.asarray(factors, np.float64)[:, None, None]
    if not known.shape[0]:
        return np.full((len(within), known.shape[1]), np.nan)
    return within.mean(axis=1)


def solved_share(times: npt.ArrayLike, at: npt.ArrayLike) -> Floats:
    """The share of problems that one solver has solved by each time, unsolved ones in the count.

    >>> solved_share([10.0, 30.0, float("nan"), 10.0], [5.0, 10.0, 50.0]).tolist()
    [0.0, 0.5, 0.75]
    """
    known = np.asarray(times, np.float64)
    done = known[None] <= np.asarray(at, np.float64)[:, None]
    return done.mean(axis=1) if known.size else np.full(len(done), np.nan)


def beats(times: npt.ArrayLike, level: float = 0.95) -> npt.NDArray[np.bool_]:
    """Which solver is faster than which on more problems than chance explains: a sign test.

    On each problem the shorter time wins, any time wins against never, and equal times (or never
    twice) decide nothing. One solver beats another if Wilson's interval of its share of the
    decided problems lies above one half.

    Args:
        times: [P, S] as for `performance_ratios`.
        level: confidence level of each comparison, in (0, 1), without adjustment for their number.

    Returns:
        [S, S], true at (a, b) where a beats b.

    >>> fast, slow = [1.0] * 8, [2.0] * 8
    >>> beats(np.transpose([fast, slow, slow])).tolist()
    [[False, True, True], [False, False, False], [False, False, False]]
    """
    known = np.asarray(times, np.float64)
    known = np.where(np.isfinite(known), known, np.inf)
    wins = (known[:, :, None] < known[:, None, :]).sum(axis=0)
    low, _ = wilson_interval(wins, wins + wins.T, level)
    return np.nan_to_num(low) > 0.5


def places(beaten: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Each solver's place: one more than the number of solvers that beat it; ties share a place.

    Args:
        beaten: [S, S] as given by `beats`.

    Returns:
        [S] places from 1.

    >>> places([[False, True, True], [False, False, False], [False, False, False]]).tolist()
    [1, 2, 2]
    """
    return 1 + np.asarray(beaten, bool).sum(axis=0)
