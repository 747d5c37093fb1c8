"""Charts of what was recorded of every leaf: a row per kernel, a column per initializer."""

import numpy as np
import pandas as pd
import xarray as xr

from initopt_jax.reports.charts.descriptions import LineChart, Panel
from initopt_jax.reports.charts.results import BAND_FOOT, RATIO_FOOT, Results, curve_series
from initopt_jax.reports.charts.scales import clear_range
from initopt_jax.stats import curve_bands

MOST_LEAVES = 4


def norm_chart(results: Results) -> LineChart | None:
    """Weight norms: a row per kernel, a column per initializer, a line per optimizer."""
    return leaf_chart(results, "weight_norm", "Frobenius norms of the kernels", "norm")


def leaf_chart(
    results: Results, variable: str, title: str, y_label: str, *, ratio: bool = False
) -> LineChart | None:
    """A variable of leaves: a row per kernel, a column per initializer, a line per optimizer.

    Args:
        results: of the study.
        variable: of dims lane, eval, leaf; None is returned where it was not recorded.
        title: what is shown; when, and at which setting, is added.
        y_label: follows the kernel's name.
        ratio: whether it is a ratio: averaged by its logarithm.
    """
    dataset, best = results.dataset, results.best
    if variable not in dataset:
        return None
    leaves = shown_leaves([str(leaf) for leaf in dataset["leaf"].values])
    bands = ratio_bands if ratio else curve_bands
    table = bands(dataset.sel(leaf=leaves), results.lanes, list(best["cell"]), variable)
    groups = dict(list(table.groupby(["leaf", "cell"])))
    panels = []
    for leaf in leaves:
        for initializer in results.initializers:
            rows = best[best["initializer"] == initializer]
            series = [
                curve_series(
                    groups[leaf, cell], optimizer, results.optimizer_styles[optimizer], "step"
                )
                for cell, optimizer in zip(rows["cell"], rows["optimizer"], strict=True)
                if (leaf, cell) in groups
            ]
            note = _flat_note(results, variable, leaf, list(rows["cell"]))
            panels.append(Panel(initializer, tuple(series), note=note))
    span = positive_span(table)
    return LineChart(
        title=f"{title} during training, each at its {results.setting}",
        x_label="steps",
        y_label=y_label,
        panels=tuple(panels),
        columns=len(results.initializers),
        y_scale="log" if span else "linear",
        y_range=span,
        metric=variable,
        row_labels=tuple(leaves),
        foot=RATIO_FOOT if ratio else BAND_FOOT,
    )


def positive_span(table: pd.DataFrame) -> tuple[float, float] | None:
    """Ends of a logarithmic axis for the means of a table, at most six decades apart."""
    ends = clear_range(table["mean"].to_numpy(np.float64), "log")
    if ends is None:
        return None
    high = ends[1] * 1.3
    return max(ends[0] / 1.3, high / 1e6), high


def ratio_bands(
    dataset: xr.Dataset, lanes: pd.DataFrame, cells: list[int], variable: str
) -> pd.DataFrame:
    """`curve_bands` of the logarithm, as the ratios that it stands for; zeros are left out."""
    values = dataset[variable]
    logarithm = np.log10(values.where(values > 0).astype(np.float64))
    table = curve_bands(dataset.assign({variable: logarithm}), lanes, cells, variable)
    parts = ["mean", "low", "high"]
    return table.assign(**{part: 10.0 ** table[part] for part in parts})


def _flat_note(results: Results, variable: str, leaf: str, cells: list[int]) -> str:
    """A logarithmic axis has no zero: lines that never leave it are told in words."""
    own = results.finals["cell"].isin(cells) & (results.finals["role"] == "report")
    lanes = results.finals.index[own & ~results.finals["diverged"].astype(bool)]
    values = results.dataset[variable].sel(lane=lanes, leaf=leaf).values
    if not values.size:
        return ""
    known = values[np.isfinite(values)]
    return "not defined" if not known.size else "exactly zero" if known.max() == 0.0 else ""


def shown_leaves(leaves: list[str]) -> list[str]:
    """The kernels (every leaf where none is named so): at most four, evenly from first to last.

    >>> shown_leaves(["dense_0/bias", "dense_0/kernel", "dense_1/kernel"])
    ['dense_0/kernel', 'dense_1/kernel']
    """
    kernels = [leaf for leaf in leaves if leaf.endswith("kernel")] or leaves
    places = np.linspace(0, len(kernels) - 1, min(MOST_LEAVES, len(kernels))).round().astype(int)
    return [kernels[place] for place in places]
