"""Spread over seeds, tuned cells, paired comparisons and time to a target. Pure: no files."""

from initopt_jax.stats.cells import (
    best_cells,
    cell_columns,
    cell_summary,
    final_frame,
    labels,
    tables,
)
from initopt_jax.stats.compare import best_per, compare_cells, compare_many, curve_bands
from initopt_jax.stats.info import (
    StudyInfo,
    headline_metric,
    metric_variables,
)
from initopt_jax.stats.intervals import (
    Interval,
    mean_interval,
    mean_intervals,
    paired_difference,
    reach_medians,
    wilson_interval,
)
from initopt_jax.stats.profiles import (
    beats,
    performance_profile,
    performance_ratios,
    places,
    solved_share,
)
from initopt_jax.tasks.metrics import Target, readable

__all__ = [
    "Interval",
    "StudyInfo",
    "Target",
    "beats",
    "best_cells",
    "best_per",
    "cell_columns",
    "cell_summary",
    "compare_cells",
    "compare_many",
    "curve_bands",
    "final_frame",
    "headline_metric",
    "labels",
    "mean_interval",
    "mean_intervals",
    "metric_variables",
    "paired_difference",
    "performance_profile",
    "performance_ratios",
    "places",
    "reach_medians",
    "readable",
    "solved_share",
    "tables",
    "wilson_interval",
]
