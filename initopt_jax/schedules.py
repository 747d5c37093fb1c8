"""Learning-rate schedules: what multiplies the learning rate, step by step.

A schedule is a pure function `(count, steps, **options) -> multiplier` of the step from 0 and of
the number of steps in all, so that its options are shares of a run, whatever its length. All are
numbers and may be traced. The learning rate itself stays the number that a study sweeps: it is the
largest rate of every schedule here.

`warmup` is the share of the steps in which the multiplier rises in equal parts to 1, its value at
the last of them: `(count + 1) / (warmup * steps)`. The rest of the schedule has what is left, of
which `p` in [0, 1) is the share done.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.types import Array, Schedule

__all__ = [
    "REGISTRY",
    "constant",
    "cosine",
    "inverse_sqrt",
    "inverse_time",
    "linear",
    "one_cycle",
    "step",
    "warmup_stable_decay",
]


def constant(count: ArrayLike, steps: ArrayLike, *, warmup: ArrayLike = 0.0) -> Array:
    """1, after a warm-up (Goyal et al. 2017, section 2.2); `warmup` in [0, 1).

    >>> [round(float(constant(count, 10, warmup=0.4)), 2) for count in (0, 1, 3, 9)]
    [0.25, 0.5, 1.0, 1.0]
    """
    checks.fraction("warmup", warmup)
    return _warmed(count, steps, warmup, jnp.ones(()))


def step(
    count: ArrayLike,
    steps: ArrayLike,
    *,
    every: ArrayLike = 0.3,
    factor: ArrayLike = 0.1,
    warmup: ArrayLike = 0.0,
) -> Array:
    """Falls by a factor at regular steps: `factor^floor(p / every)`.

    Args:
        count: steps done.
        steps: in all.
        every: share of the steps after the warm-up between two falls; above 0.
        factor: above 0.
        warmup: share of the steps; in [0, 1).

    Reference:
        Krizhevsky, Sutskever and Hinton (2012), section 5; He et al. (2016), section 3.4.

    >>> [round(float(step(count, 100, every=0.5)), 2) for count in (0, 49, 50, 99)]
    [1.0, 1.0, 0.1, 0.1]
    """
    checks.positive("every", every)
    checks.positive("factor", factor)
    checks.fraction("warmup", warmup)
    # A twentieth of a step: rounding must not put a fall off to the step after.
    falls = jnp.floor(_progress(_float(count) + 0.05, steps, warmup) / every)
    return _warmed(count, steps, warmup, _float(factor) ** falls)


def cosine(
    count: ArrayLike, steps: ArrayLike, *, end: ArrayLike = 0.0, warmup: ArrayLike = 0.0
) -> Array:
    """Half a cosine from 1 to `end` (at least 0): `end + (1 - end) * (1 + cos(pi * p)) / 2`.

    Reference:
        Loshchilov and Hutter (2017), SGDR, eq. 5, without restarts.

    >>> [round(float(cosine(count, 100, end=0.1)), 2) for count in (0, 50, 100)]
    [1.0, 0.55, 0.1]
    """
    checks.non_negative("end", end)
    checks.fraction("warmup", warmup)
    falling = (1 + jnp.cos(jnp.pi * _progress(count, steps, warmup))) / 2
    return _warmed(count, steps, warmup, _float(end) + (1 - _float(end)) * falling)


def linear(
    count: ArrayLike, steps: ArrayLike, *, end: ArrayLike = 0.0, warmup: ArrayLike = 0.0
) -> Array:
    """A straight line from 1 to `end` (at least 0): `1 - (1 - end) * p`.

    Reference:
        Devlin et al. (2019), appendix A.2.

    >>> [round(float(linear(count, 10, warmup=0.2)), 2) for count in (0, 1, 2, 6)]
    [0.5, 1.0, 1.0, 0.5]
    """
    checks.non_negative("end", end)
    checks.fraction("warmup", warmup)
    falling = 1 - (1 - _float(end)) * _progress(count, steps, warmup)
    return _warmed(count, steps, warmup, falling)


def one_cycle(
    count: ArrayLike,
    steps: ArrayLike,
    *,
    rise: ArrayLike = 0.3,
    start: ArrayLike = 0.04,
    end: ArrayLike = 4e-6,
) -> Array:
    """Half a cosine from `start` up to 1, then half a cosine down to `end`.

    Args:
        count: steps done.
        steps: in all.
        rise: share of the steps on the way up; above 0 and below 1.
        start: at the first step; at least 0.
        end: after the last step; at least 0.

    Reference:
        Smith and Topin (2019), Super-convergence; with cosines for their straight lines, as in
        common use.

    >>> [round(float(one_cycle(count, 100, rise=0.5)), 2) for count in (0, 25, 50, 75, 100)]
    [0.04, 0.52, 1.0, 0.5, 0.0]
    """
    checks.probability("rise", rise)
    checks.non_negative("start", start)
    checks.non_negative("end", end)
    done = _float(count) / _float(steps)
    up = jnp.clip(done / rise, 0, 1)
    down = jnp.clip((done - rise) / (1 - _float(rise)), 0, 1)
    rising = start + (1 - _float(start)) * (1 - jnp.cos(jnp.pi * up)) / 2
    falling = end + (1 - _float(end)) * (1 + jnp.cos(jnp.pi * down)) / 2
    return jnp.where(done < rise, rising, falling)


def inverse_sqrt(count: ArrayLike, steps: ArrayLike, *, warmup: ArrayLike = 0.1) -> Array:
    """A warm-up of `W = warmup * steps` steps, then `sqrt(W / (count + 1))`.

    `warmup` is above 0 and below 1.

    Reference:
        Vaswani et al. (2017), eq. 3, whose constant goes into the learning rate.

    >>> [round(float(inverse_sqrt(count, 100, warmup=0.04)), 2) for count in (0, 3, 15, 63)]
    [0.25, 1.0, 0.5, 0.25]
    """
    checks.probability("warmup", warmup)
    rising = (_float(count) + 1) / (_float(warmup) * _float(steps))
    return jnp.minimum(rising, 1 / jnp.sqrt(rising))


def inverse_time(
    count: ArrayLike, steps: ArrayLike, *, decay: ArrayLike = 10.0, warmup: ArrayLike = 0.0
) -> Array:
    """`1 / (1 + decay * p)`, whose sum diverges while that of its squares does not.

    `decay` is at least 0: with 9, the last rate is a tenth of the first.

    Reference:
        Robbins and Monro (1951), eq. 6 and 27.

    >>> [round(float(inverse_time(count, 100, decay=9.0)), 2) for count in (0, 100)]
    [1.0, 0.1]
    """
    checks.non_negative("decay", decay)
    checks.fraction("warmup", warmup)
    return _warmed(count, steps, warmup, 1 / (1 + _float(decay) * _progress(count, steps, warmup)))


def warmup_stable_decay(
    count: ArrayLike,
    steps: ArrayLike,
    *,
    warmup: ArrayLike = 0.1,
    decay: ArrayLike = 0.2,
    end: ArrayLike = 0.0,
) -> Array:
    """A warm-up, a plateau at 1, and in the last share `decay` a straight line to `end`.

    Args:
        count: steps done.
        steps: in all.
        warmup: share of the steps; in [0, 1).
        decay: share of the steps; above 0 and below 1.
        end: after the last step; at least 0.

    Reference:
        Hu et al. (2024), MiniCPM, section 4.2; the straight line is from Hägele et al. (2024).

    >>> [round(float(warmup_stable_decay(count, 10)), 2) for count in (0, 7, 8, 9)]
    [1.0, 1.0, 1.0, 0.5]
    """
    checks.fraction("warmup", warmup)
    checks.probability("decay", decay)
    checks.non_negative("end", end)
    left = (1 - _float(count) / _float(steps)) / _float(decay)
    falling = _float(end) + (1 - _float(end)) * jnp.clip(left, 0, 1)
    return _warmed(count, steps, warmup, falling)


def _float(value: ArrayLike) -> Array:
    return jnp.asarray(value, jnp.result_type(float))


def _progress(count: ArrayLike, steps: ArrayLike, warmup: ArrayLike) -> Array:
    """The share done of what follows the warm-up; 0 before, 1 after the last step."""
    rising = _float(warmup) * _float(steps)
    return jnp.clip((_float(count) - rising) / (_float(steps) - rising), 0, 1)


def _warmed(count: ArrayLike, steps: ArrayLike, warmup: ArrayLike, after: Array) -> Array:
    rising = _float(warmup) * _float(steps)
    done = _float(count) + 1
    return jnp.where(done < rising, done / jnp.maximum(rising, 1), after)


def _entry(shape: Callable[..., Array], formula: str, reference: str) -> Schedule:
    return Schedule(shape.__name__, shape, formula, reference)


REGISTRY: dict[str, Schedule] = {
    entry.name: entry
    for entry in (
        _entry(constant, "1, after a warm-up", "Goyal et al. (2017), section 2.2"),
        _entry(step, "factor^floor(p / every)", "Krizhevsky et al. (2012), section 5"),
        _entry(
            cosine,
            "end + (1 - end) * (1 + cos(pi * p)) / 2",
            "Loshchilov and Hutter (2017), eq. 5",
        ),
        _entry(linear, "1 - (1 - end) * p", "Devlin et al. (2019), appendix A.2"),
        _entry(one_cycle, "half a cosine up, half a cosine down", "Smith and Topin (2019)"),
        _entry(
            inverse_sqrt,
            "min(r, 1 / sqrt(r)), r = (count + 1) / (warmup * steps)",
            "Vaswani et al. (2017), eq. 3",
        ),
        _entry(inverse_time, "1 / (1 + decay * p)", "Robbins and Monro (1951)"),
        _entry(
            warmup_stable_decay,
            "1, and a straight line to end in the last share decay",
            "Hu et al. (2024), section 4.2",
        ),
    )
}
