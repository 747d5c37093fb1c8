"""The chart of speed against accuracy: what a good score costs."""

import numpy as np
import pandas as pd

from initopt_jax.reports.charts.descriptions import PointChart, PointPanel, Points
from initopt_jax.reports.charts.results import Results, bar_end, dots_of, scale_of

LABELS = {"steps_to_target": "steps", "flops_to_target": "floating-point operations"}
# Width of the sideways shifts as a share of the axis.
DODGE = 0.05


def tradeoff_chart(results: Results) -> PointChart | None:
    """Final score against the steps, and the operations, to the target; None without a target."""
    info, best, metric = results.info, results.best, results.metric
    times = [time for time in LABELS if f"{time}_median" in best]
    if info.target is None or not times or not np.isfinite(best[f"{metric}_mean"]).any():
        return None
    return PointChart(
        title=f"Speed against {info.readable(info.primary)}: final {info.readable(metric)}, "
        f"and the {'time to' if info.is_function else 'cost of'} {info.target_text}",
        y_label=f"final {info.readable(metric)}",
        panels=tuple(_panel(results, time) for time in times),
        y_scale=scale_of(results, metric),
        metric=metric,
        marks=tuple((name, style.mark) for name, style in results.initializer_styles.items()),
        foot=f"One point per initializer and optimizer at its {results.setting}; bars: 95% "
        "intervals (dots, of four seeds or fewer: the seeds); optimizers are shifted a little "
        "sideways so that equal times do not overlap. Grey strip: fewer than half of the seeds "
        "reached the target.",
    )


def _panel(results: Results, time: str) -> PointPanel:
    best, info = results.best, results.info
    median = best[f"{time}_median"].to_numpy(np.float64)
    bars = (best.loc[np.isfinite(median), f"{time}_{part}"] for part in ("low", "high"))
    known = np.concatenate([median, *(bar.to_numpy(np.float64) for bar in bars)])
    known = known[np.isfinite(known) & (known > 0)]
    low, high = (float(known.min()), float(known.max())) if known.size else (1.0, 10.0)
    reach = max(np.log10(high / low), 0.5)
    edge = high * 10 ** (0.10 * reach)
    end = edge * 10 ** (0.22 * reach)
    points = [
        _points(results, best[best["optimizer"] == name], name, time, (low, edge, end))
        for name in results.optimizers
    ]
    target = info.target_text if info.target else "the target"
    return PointPanel(
        x_label=f"median {LABELS[time]} to {target}",
        points=tuple(points),
        # Where nobody arrived there is no time to measure an axis by: only the strip is shown.
        x_range=(low * 10 ** (-0.08 * reach) if known.size else edge, end),
        strip=(edge, end),
    )


def _points(
    results: Results,
    rows: pd.DataFrame,
    optimizer: str,
    time: str,
    ends: tuple[float, float, float],
) -> Points:
    """Points of an optimizer; those that never arrived stand in its own column of the strip."""
    rows = rows[np.isfinite(rows[f"{results.metric}_mean"])]
    x = rows[f"{time}_median"].to_numpy(np.float64)
    place = (results.optimizers.index(optimizer) + 1) / (len(results.optimizers) + 1)
    start, edge, end = ends
    parked = edge * (end / edge) ** place
    shift = (edge / start) ** (DODGE * (place - 0.5))
    low, high = (rows[f"{time}_{part}"].to_numpy(np.float64) for part in ("low", "high"))
    reached = np.isfinite(x)
    names = rows["initializer"].tolist()
    mean = rows[f"{results.metric}_mean"]
    place_x = np.where(reached, x * shift, parked)
    return Points(
        label=optimizer,
        style=results.optimizer_styles[optimizer],
        x=place_x,
        # An unbounded interval is drawn to the strip's edge.
        x_low=np.where(reached, low, np.nan),
        x_high=np.where(reached & np.isfinite(low), np.minimum(high, edge), np.nan),
        y=mean.to_numpy(np.float64),
        low=bar_end(rows, f"{results.metric}_low"),
        high=bar_end(rows, f"{results.metric}_high"),
        dots=dots_of(results, rows, place_x),
        marks=tuple(results.initializer_styles[name].mark for name in names),
        names=tuple(names),
    )
