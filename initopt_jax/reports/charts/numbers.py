"""Numbers as readers want them: accuracies in percent, counts and rates short."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from initopt_jax.stats.intervals import FEW
from initopt_jax.tasks.metrics import bare, is_share

# What needs no power of ten: numbers beside an axis, counts, and the value of a metric.
SMALLEST, LARGEST, LARGEST_COUNT, LONG = 1e-4, 1e12, 1e15, 1e6
# From here on both ends are told: their distances from the mean differ by this share of their mean.
LOPSIDED = 0.25
MINUS, PLUS_MINUS, RANGE, ALIKE = "−", "±", "–", "alike"


def score(value: float, metric: str, *, unit: bool = True) -> str:
    """A metric's value.

    >>> score(0.9731, "test_accuracy"), score(0.2, "val_loss"), score(-1e-5, "test_r2")
    ('97.3%', '0.200', '0.000')
    >>> score(1e36, "val_loss"), score(-1e14, "test_r2")
    ('1e36', '−1e14')
    """
    if not math.isfinite(value):
        return "n/a"
    if is_share(metric):
        return f"{100 * value:.1f}{'%' if unit else ''}".replace("-", MINUS)
    if abs(value) >= LONG:
        return scientific(value)
    if bare(metric) == "r2":
        text = f"{value:.3f}"
        return text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)
    digits = 3 if abs(value) < 100 else 4
    text = f"{value:.3f}" if 1e-3 <= abs(value) < 100 or value == 0 else f"{value:.{digits}g}"
    return text.replace("-", MINUS)


def spread(row: Mapping[Any, Any], metric: str, prefix: str = "") -> str:
    """A mean over seeds with what is known of its spread.

    With five seeds or more its 95% interval: half of it where the mean lies about in its middle,
    else both ends. With fewer the lowest and the highest seed. Equal seeds are said to be so.

    Args:
        row: with `mean`, `low`, `high`, `min` and `max` under the prefix, and `n_finite`.
        metric: whose unit it is in.
        prefix: of the names.

    >>> row = {"mean": 0.97, "low": 0.96, "high": 0.98, "min": 0.95, "max": 0.99, "n_finite": 10}
    >>> spread(row, "test_accuracy"), spread(row | {"high": 0.976}, "test_accuracy")
    ('97.0 ± 1.0%', '97.0% [96.0, 97.6]')
    >>> spread(row | {"n_finite": 3}, "test_accuracy")
    '97.0% (3 seeds, 95.0 to 99.0)'
    """
    mean, n = float(row[f"{prefix}mean"]), int(row["n_finite"])
    unit = "%" if is_share(metric) else ""
    first, second = spread_parts(row, metric, prefix)
    if not second:
        return score(mean, metric)
    if second[0] == PLUS_MINUS:
        return f"{first} {PLUS_MINUS} {second[1:]}{unit}"
    if second == ALIKE:
        return f"{first}{unit} (all {n} seeds alike)"
    if second[0] == "[":
        return f"{first}{unit} {second}"
    return f"{first}{unit} ({n} seeds, {second.replace(RANGE, ' to ')})"


def spread_parts(row: Mapping[Any, Any], metric: str, prefix: str = "") -> tuple[str, str]:
    """A mean, and its spread in a few letters (none where there is none), without their unit.

    The spread is `±half`, `[low, high]`, `min–max` of few seeds, or `alike`.
    """
    mean, low, high, least, most = (
        float(row[f"{prefix}{part}"]) for part in ("mean", "low", "high", "min", "max")
    )
    n = row["n_finite"]
    first = score(mean, metric, unit=False)
    if not n > 1 or not math.isfinite(mean):
        return first, ""
    if least == most:
        return first, ALIKE
    if n <= FEW:
        ends = (score(value, metric, unit=False) for value in (least, most))
        return first, RANGE.join(ends)
    if not math.isfinite(low + high):
        return first, ""
    half = (high - low) / 2
    if abs(high + low - 2 * mean) <= LOPSIDED * half:
        return first, f"{PLUS_MINUS}{margin(half, metric)}"
    ends = (score(value, metric, unit=False) for value in (low, high))
    return first, f"[{', '.join(ends)}]"


def margin(half: float, metric: str) -> str:
    """Half an interval without its unit; small ones keep a digit rather than show as zero.

    >>> margin(0.0004, "test_accuracy"), margin(0.012, "test_r2")
    ('0.04', '0.012')
    """
    if half >= LONG:
        return scientific(half)
    if 0 < half < 5e-4:
        return f"{100 * half if is_share(metric) else half:.1g}"
    return f"{100 * half:.1f}" if is_share(metric) else f"{half:.3f}"


def gap(mean: float, low: float, high: float, metric: str) -> str:
    """A difference of two metrics with its interval.

    >>> gap(0.012, -0.001, 0.025, "test_accuracy")
    '+1.20 [−0.10, +2.50] percentage points'
    >>> gap(-6e-8, -8e-8, -4e-8, "test_loss")
    '−6e-08 [−8e-08, −4e-08]'
    """
    scale, unit = (100.0, " percentage points") if is_share(metric) else (1.0, "")
    digits = 2 if is_share(metric) else 3

    ends = [abs(value) for value in (mean, low, high) if math.isfinite(value)]
    tiny = not (is_share(metric) or bare(metric) == "r2") and 0 < max(ends, default=0.0) < 5e-4

    def signed(value: float) -> str:
        if abs(value) >= LONG:
            return ("+" if value > 0 else "") + scientific(value)
        if tiny:  # all of them would show as zero
            return f"{value + 0.0:+.2g}".replace("-", MINUS, 1)
        # Rounding first, and adding 0.0, keeps "−0.00" off the page.
        return f"{round(scale * value, digits) + 0.0:+.{digits}f}".replace("-", MINUS)

    if not (math.isfinite(low) and math.isfinite(high)):
        return signed(mean) + unit if math.isfinite(mean) else "n/a"
    return f"{signed(mean)} [{signed(low)}, {signed(high)}]{unit}"


def count(value: float) -> str:
    """A count such as steps or operations, short.

    >>> count(120), count(12345), count(7.2e9), count(float("nan"))
    ('120', '12.3k', '7.2G', 'n/a')
    >>> count(3e26)
    '3e26'
    """
    if not math.isfinite(value):
        return "n/a"
    if abs(value) >= LARGEST_COUNT:
        return scientific(value)
    for bound, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= bound:
            unit = 1e3 if letter == "k" else bound
            return f"{value / unit:.3g}{letter}"
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def scientific(value: float) -> str:
    """Two digits and a power of ten.

    >>> scientific(1e14), scientific(-2.34e-7)
    ('1e14', '−2.3e−7')
    """
    digits, _, power = f"{value:.1e}".partition("e")
    return f"{float(digits):g}e{int(power)}".replace("-", MINUS)


def tick(value: float) -> str:
    """A number beside an axis.

    >>> tick(0.5), tick(25000), tick(3e6), tick(1e26), tick(2e-7), tick(-3)
    ('0.5', '25k', '3M', '1e26', '2e−7', '−3')
    """
    size = abs(value)
    if size and (size < SMALLEST or size >= LARGEST):
        return scientific(value)
    if size >= 1e6:
        return count(value).replace("-", MINUS)
    text = f"{value / 1e3:g}k" if size >= 1e3 else f"{value:g}"
    return text.replace("-", MINUS)


def rate(value: float) -> str:
    """A learning rate or another hyperparameter, to three digits.

    >>> rate(0.0030000001), rate(float("nan"))
    ('0.003', 'n/a')
    """
    return f"{value:.3g}" if math.isfinite(value) else "n/a"


def rate_among(value: float, others: Iterable[float]) -> str:
    """As `rate`, with as many digits as tell all of several values apart.

    >>> rate_among(0.1, [0.1, 0.2]), rate_among(0.1, [0.1, 0.10002])
    ('0.1', '0.1')
    >>> rate_among(0.10002, [0.1, 0.10002])
    '0.10002'
    """
    known = {other for other in others if math.isfinite(other)}
    digits = next(
        (n for n in range(3, 17) if len({f"{other:.{n}g}" for other in known}) == len(known)), 17
    )
    return f"{value:.{digits}g}" if math.isfinite(value) else "n/a"


def listed(items: list[str]) -> str:
    """Items as a phrase.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]
