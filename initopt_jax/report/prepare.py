"""From results to charts; None where a study has nothing to show."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from initopt_jax.report.charts import (
    Floats,
    HeatChart,
    HeatPanel,
    LineChart,
    Panel,
    Scale,
    Series,
    metric_scale,
)
from initopt_jax.report.numbers import count, is_share, margin, score
from initopt_jax.report.palette import BOLD, MUTED, Style, styles
from initopt_jax.report.texts import in_texts, one_line, shown_names
from initopt_jax.stats import (
    StudyInfo,
    best_cells,
    cell_columns,
    cell_summary,
    curve_bands,
    final_frame,
    headline_metric,
    labels,
)
from initopt_jax.stats.cells import RATE

SCORE_COLORS = ("#f3ead9", "#c9d9c0", "#8fc0b5", "#4c9aa8", "#22698e", "#12355f")
TIME_COLORS = tuple(reversed(SCORE_COLORS))
MOST_LEAVES = 4
BAND_FOOT = (
    "Lines: mean over the seeds that did not diverge; bands: 95% interval of the mean; a cross at "
    "the foot: from there on every seed had diverged."
)
GEOMETRIC_FOOT = BAND_FOOT.replace("mean", "geometric mean", 1)
RATIO_FOOT = f"{GEOMETRIC_FOOT} Not defined: what it is measured against is zero."


@dataclass(frozen=True)
class Results:
    """A study and the tables that every part of a report reads, computed once.

    Its labels are what is shown for those of the study, one line each and not too long; `names`
    has them by `initializer` and `optimizer`, and then by the label as it was given.
    """

    dataset: xr.Dataset
    lanes: pd.DataFrame
    info: StudyInfo
    finals: pd.DataFrame
    summary: pd.DataFrame
    best: pd.DataFrame
    metric: str
    initializers: list[str]
    optimizers: list[str]
    names: Mapping[str, Mapping[str, str]]

    @property
    def setting(self) -> str:
        """What to call the chosen hyperparameters: tuned only if there was a choice."""
        given = bool((self.best["chosen_on"] == "only cell").all())
        return "given setting" if given else "tuned setting"

    @property
    def optimizer_styles(self) -> dict[str, Style]:
        """Bold colours, by config order."""
        return styles(self.optimizers, BOLD)

    @property
    def initializer_styles(self) -> dict[str, Style]:
        """Muted colours, by config order."""
        return styles(self.initializers, MUTED)


def make_results(dataset: xr.Dataset, lanes: pd.DataFrame, info: StudyInfo) -> Results:
    """Compute the tables of a report.

    Args:
        dataset: the results.
        lanes: the lane table, index lane id.
        info: the study in words.

    Returns:
        The study with its tables.
    """
    names = {name: shown_names(labels(lanes, name)) for name in ("initializer", "optimizer")}
    lanes = lanes.assign(**{name: lanes[name].map(shown) for name, shown in names.items()})
    info = in_texts(info, one_line)
    return Results(
        dataset=dataset,
        lanes=lanes,
        info=info,
        finals=final_frame(dataset, lanes, info),
        summary=cell_summary(dataset, lanes, info),
        best=best_cells(dataset, lanes, info),
        metric=headline_metric(dataset, info),
        initializers=labels(lanes, "initializer"),
        optimizers=labels(lanes, "optimizer"),
        names=names,
    )


def scale_of(results: Results, metric: str) -> Scale:
    """How a metric is drawn: a cost that falls below zero has no logarithm."""
    scale = metric_scale(metric)
    negative = scale == "log" and bool((results.dataset[metric] < 0).any())
    return "linear" if negative else scale


def _matrix(results: Results, column: str) -> Floats:
    wide = results.best.pivot(index="initializer", columns="optimizer", values=column)
    wide = wide.reindex(index=results.initializers, columns=results.optimizers)
    return wide.to_numpy(np.float64, na_value=np.nan)


def heat_chart(results: Results) -> HeatChart:
    """Initializer x optimizer: final score at the tuned rate, and the time to the target."""
    info, metric = results.info, results.metric
    mean = _matrix(results, f"{metric}_mean")
    low, high = (_matrix(results, f"{metric}_{part}") for part in ("low", "high"))
    diverged, seeds = _matrix(results, "n_diverged"), _matrix(results, "n_seeds")
    best = np.nanmax if info.direction(metric) == "max" else np.nanmin
    tops = np.array([best(row) if np.isfinite(row).any() else np.nan for row in mean])
    text, small = [], []
    for i in range(len(mean)):
        cells = list(zip(mean[i], low[i], high[i], diverged[i], seeds[i], strict=True))
        text.append([_score_text(cell, metric) for cell in cells])
        small.append([_score_small(cell, metric) for cell in cells])
    panels = [
        HeatPanel(
            title=f"Final {results.info.readable(metric)}{' in %' if is_share(metric) else ''}"
            "\n(mean; below: half of its 95% interval)",
            values=mean,
            text=text,
            small=small,
            strong=mean == tops[:, None],
            scale=scale_of(results, metric),
            metric=metric,
            colors=SCORE_COLORS if info.direction(metric) == "max" else TIME_COLORS,
        )
    ]
    if "steps_to_target_median" in results.best:
        panels.append(_time_panel(results))
    return HeatChart(
        title=f"Every initializer with every optimizer, each at its {results.setting}",
        rows=tuple(results.initializers),
        columns=tuple(results.optimizers),
        panels=tuple(panels),
        foot="Bold: the row's best. Grey: every seed diverged, or fewer than half of them reached "
        "the target.",
    )


def _score_text(cell: tuple[float, ...], metric: str) -> str:
    mean, _, _, diverged, seeds = cell
    if not np.isfinite(seeds):
        return ""
    return "diverged" if diverged == seeds else score(mean, metric, unit=False)


def _score_small(cell: tuple[float, ...], metric: str) -> str:
    _, low, high, diverged, seeds = cell
    if not np.isfinite(seeds):
        return ""
    half = (high - low) / 2
    parts = [f"±{margin(half, metric)}"] if np.isfinite(half) else []
    if 0 < diverged < seeds:
        parts.append(f"{diverged:.0f}/{seeds:.0f} div.")
    return "\n".join(parts)


def _time_panel(results: Results) -> HeatPanel:
    median, low, high = (
        _matrix(results, f"steps_to_target_{part}") for part in ("median", "low", "high")
    )
    reached, seeds = _matrix(results, "n_reached"), _matrix(results, "n_seeds")
    text, small = [], []
    for i in range(len(median)):
        text.append([count(x) if np.isfinite(x) else "–" for x in median[i]])
        small.append(
            [
                f"{a:.0f}–{b:.0f}"
                if np.isfinite(a) and np.isfinite(b)
                else (f"{r:.0f}/{n:.0f}" if np.isfinite(n) else "")
                for a, b, r, n in zip(low[i], high[i], reached[i], seeds[i], strict=True)
            ]
        )
    tops = np.array([np.nanmin(row) if np.isfinite(row).any() else np.nan for row in median])
    target = results.info.target
    return HeatPanel(
        title="Steps to "
        + (results.info.target_text if target else "the target")
        + "\n(median; below: 95% interval, or seeds that reached it)",
        values=median,
        text=text,
        small=small,
        strong=median == tops[:, None],
        scale="log",
        metric="steps_to_target",
        colors=TIME_COLORS,
    )


def examples_chart(results: Results) -> LineChart | None:
    """Learning curves against examples seen; None where that only rescales the steps."""
    sizes = results.best["optimizer.batch_size"]
    return curve_chart(results, "examples_seen") if sizes.nunique() > 1 else None


def curve_chart(results: Results, x: str = "step") -> LineChart:
    """Learning curves of the tuned cells: a panel per initializer, a line per optimizer."""
    dataset, best = results.dataset, results.best
    variable = "val_loss" if "val_loss" in dataset else "train_loss"
    table = curve_bands(dataset, results.lanes, list(best["cell"]), variable)
    by_cell = dict(list(table.groupby("cell")))
    panels = []
    for initializer in results.initializers:
        rows = best[best["initializer"] == initializer]
        series = [
            curve_series(by_cell[cell], optimizer, results.optimizer_styles[optimizer], x)
            for cell, optimizer in zip(rows["cell"], rows["optimizer"], strict=True)
            if cell in by_cell
        ]
        panels.append(Panel(initializer, tuple(series)))
    scale = scale_of(results, variable)
    start = table.loc[table["eval"] == table["eval"].min(), "mean"]
    kind = "Descent" if results.info.is_function else "Learning curves"
    where = "against steps" if x == "step" else "against examples seen"
    return LineChart(
        title=f"{kind}: {results.info.readable(variable)} {where}, each at its {results.setting}",
        x_label="steps" if x == "step" else "examples seen",
        y_label=results.info.readable(variable),
        panels=tuple(panels),
        columns=min(4, len(panels)),
        # Full-batch methods see many times more examples per step than mini-batch ones.
        x_scale="linear" if x == "step" else "log",
        y_scale=scale,
        y_range=_loss_range(table, start) if scale == "log" else None,
        metric=variable,
        foot=BAND_FOOT,
    )


def curve_series(table: pd.DataFrame, label: str, style: Style, x: str) -> Series:
    """One cell's line from its rows of `curve_bands`; `x` is `step` or `examples_seen`."""
    along, lost = table[x].to_numpy(np.float64), bool(table["diverged"].any())
    finite = np.isfinite(table["mean"].to_numpy(np.float64))
    last = float(along[finite][-1]) if finite.any() else float(along[0])
    return Series(
        label=label,
        style=style,
        x=along,
        y=table["mean"].to_numpy(np.float64),
        low=table["low"].to_numpy(np.float64),
        high=table["high"].to_numpy(np.float64),
        lost=(last,) if lost else (),
    )


def _loss_range(table: pd.DataFrame, start: pd.Series) -> tuple[float, float] | None:
    """From the least positive mean to twice the largest at the start: explosions leave it."""
    means = table["mean"].to_numpy(np.float64)
    means = means[np.isfinite(means) & (means > 0)]
    if not means.size:
        return None
    ceiling = 2.0 * float(np.nanmax(start)) if np.isfinite(start).any() else float(means.max())
    top = min(float(means.max()), ceiling)
    return float(means.min()) / 1.25, max(top, float(means.min())) * 1.25


def rate_chart(results: Results) -> LineChart | None:
    """Final score against the learning rate: a panel per optimizer, a line per initializer."""
    if RATE not in results.lanes:
        return None
    panels = []
    for optimizer in results.optimizers:
        lines = [_rate_line(results, optimizer, name) for name in results.initializers]
        found = [line for line in lines if line is not None]
        if found:
            panels.append(Panel(optimizer, tuple(found)))
    if not any(len(line.x) + len(line.lost) > 1 for panel in panels for line in panel.series):
        return None
    metric = results.metric
    values = np.concatenate([line.y for panel in panels for line in panel.series] or [[np.nan]])
    finite = values[np.isfinite(values)]
    scale = scale_of(results, metric)
    finite = finite[finite > 0] if scale == "log" else finite
    nothing = (0.1, 1.0) if scale == "log" else (0.0, 0.9)
    ends = (float(finite.min()), float(finite.max())) if finite.size else nothing
    return LineChart(
        title=f"Sensitivity to the learning rate: final {results.info.readable(metric)}",
        x_label="learning rate",
        y_label=f"final {results.info.readable(metric)}",
        panels=tuple(panels),
        columns=min(4, len(panels)),
        x_scale="log",
        y_scale=scale,
        y_range=None if scale == "linear" else ends,
        metric=metric,
        legend="initializer",
        share_x=False,
        foot="Bars: 95% interval of the mean over the seeds that did not diverge; open marks: some "
        "seeds diverged; crosses at the foot: all did.",
    )


def _rate_line(results: Results, optimizer: str, initializer: str) -> Series | None:
    """The swept rates of one pair; other hyperparameters as in its tuned cell."""
    best, metric = results.best, results.metric
    chosen = best[(best["optimizer"] == optimizer) & (best["initializer"] == initializer)]
    if chosen.empty or not np.isfinite(chosen[RATE].iloc[0]):
        return None
    cells = results.summary
    for column in cell_columns(results.lanes):
        if column != RATE:
            value = chosen[column].iloc[0]
            cells = cells[cells[column].isna() if pd.isna(value) else cells[column] == value]
    cells = cells.sort_values(RATE)
    lost = cells[cells["n_finite"] == 0]
    kept = cells[cells["n_finite"] > 0]
    return Series(
        label=initializer,
        style=results.initializer_styles[initializer],
        x=kept[RATE].to_numpy(np.float64),
        y=kept[f"{metric}_mean"].to_numpy(np.float64),
        low=kept[f"{metric}_low"].to_numpy(np.float64),
        high=kept[f"{metric}_high"].to_numpy(np.float64),
        marks=True,
        open_marks=(kept["n_diverged"] > 0).to_numpy(bool),
        lost=tuple(lost[RATE].to_list()),
    )


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
    means = table["mean"].to_numpy(np.float64)
    means = means[means > 0]
    if not means.size:
        return None
    high = float(means.max()) * 1.3
    return max(float(means.min()) / 1.3, high / 1e6), high


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
