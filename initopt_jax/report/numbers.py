"""Numbers as readers want them: accuracies in percent, counts and rates short."""

import math

from initopt_jax.metrics import bare

MINUS, PLUS_MINUS = "−", "±"


def is_share(metric: str) -> bool:
    """Whether a metric is a share, and so written in percent.

    >>> is_share("test_accuracy"), is_share("val_loss")
    (True, False)
    """
    return "accuracy" in bare(metric) or metric == "share"


def score(value: float, metric: str, *, unit: bool = True) -> str:
    """A metric's value.

    >>> score(0.9731, "test_accuracy"), score(0.2, "val_loss"), score(-1e-5, "test_r2")
    ('97.3%', '0.200', '0.000')
    """
    if not math.isfinite(value):
        return "n/a"
    if is_share(metric):
        return f"{100 * value:.1f}{'%' if unit else ''}".replace("-", MINUS)
    if bare(metric) == "r2":
        text = f"{value:.3f}"
        return text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)
    digits = 3 if abs(value) < 100 else 4
    text = f"{value:.3f}" if 1e-3 <= abs(value) < 100 or value == 0 else f"{value:.{digits}g}"
    return text.replace("-", MINUS)


def spread(mean: float, low: float, high: float, metric: str) -> str:
    """A mean with half of its symmetric interval, or alone where there is no interval.

    >>> spread(0.97, 0.96, 0.98, "test_accuracy")
    '97.0 ± 1.0%'
    >>> spread(0.5, float("nan"), float("nan"), "val_loss")
    '0.500'
    """
    half = (high - low) / 2
    if not math.isfinite(half):
        return score(mean, metric)
    unit = "%" if is_share(metric) else ""
    return f"{score(mean, metric, unit=False)} {PLUS_MINUS} {margin(half, metric)}{unit}"


def margin(half: float, metric: str) -> str:
    """Half an interval without its unit; small ones keep a digit rather than show as zero.

    >>> margin(0.0004, "test_accuracy"), margin(0.012, "test_r2")
    ('0.04', '0.012')
    """
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
    """
    if not math.isfinite(value):
        return "n/a"
    for bound, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= bound:
            unit = 1e3 if letter == "k" else bound
            return f"{value / unit:.3g}{letter}"
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def rate(value: float) -> str:
    """A learning rate or another hyperparameter, to three digits.

    >>> rate(0.0030000001), rate(float("nan"))
    ('0.003', 'n/a')
    """
    return f"{value:.3g}" if math.isfinite(value) else "n/a"


def listed(items: list[str]) -> str:
    """Items as a phrase.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]
