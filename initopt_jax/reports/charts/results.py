"""From results to charts; None where a study has nothing to show."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from initopt_jax.reports.charts.descriptions import HeatChart, HeatPanel, LineChart, Panel, Series
from initopt_jax.reports.charts.numbers import RANGE, count, is_share, spread_parts
from initopt_jax.reports.charts.palette import BOLD, MUTED, Style, styles
from initopt_jax.reports.charts.scales import Floats, Scale, clear_range, metric_scale
from initopt_jax.reports.charts.texts import MOST_OF_WORD, in_texts, one_line, shown_names
from initopt_jax.stats import StudyInfo, cell_columns, curve_bands, headline_metric, labels, tables
from initopt_jax.stats.cells import RATE
from initopt_jax.stats.intervals import FEW

SCORE_COLORS = ("#f3ead9", "#c9d9c0", "#8fc0b5", "#4c9aa8", "#22698e", "#12355f")
TIME_COLORS = tuple(reversed(SCORE_COLORS))
BAND_FOOT = (
    "Lines: mean over the seeds that did not diverge; bands: 95% interval of the mean (of four "
    "seeds or fewer: from the lowest to the highest); a cross at the foot: from there on every "
    "seed had diverged; a triangle: the line leaves the axis."
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
    for name, labels_of in dataset.coords.items():
        if labels_of.dtype.kind in "OUT" and labels_of.ndim == 1:  # of leaves, layers, columns
            shown = shown_names(map(str, labels_of.values), most=MOST_OF_WORD)
            dataset = dataset.assign_coords(
                {name: (labels_of.dims, [shown[str(label)] for label in labels_of.values])}
            )
    return Results(
        dataset=dataset,
        lanes=lanes,
        info=info,
        **tables(dataset, lanes, info)._asdict(),
        metric=headline_metric(dataset, info),
        initializers=labels(lanes, "initializer"),
        optimizers=labels(lanes, "optimizer"),
        names=names,
    )


def scale_of(results: Results, metric: str) -> Scale:
    """How a metric is drawn: a loss that falls below zero has no logarithm."""
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
    best = np.nanmax if info.direction(metric) == "max" else np.nanmin
    tops = np.array([best(row) if np.isfinite(row).any() else np.nan for row in mean])
    cells = results.best.set_index(["initializer", "optimizer"]).to_dict("index")
    pairs = [[(row, column) for column in results.optimizers] for row in results.initializers]
    text = [[_score_text(cells.get(pair), metric) for pair in row] for row in pairs]
    small = [[_score_small(cells.get(pair), metric) for pair in row] for row in pairs]
    panels = [
        HeatPanel(
            title=f"Final {results.info.readable(metric)}{' in %' if is_share(metric) else ''}"
            f"\n(mean; below: {_spread_words(results)})",
            values=mean,
            text=text,
            small=small,
            strong=mean == tops[:, None],
            scale=scale_of(results, metric),
            metric=metric,
            colors=SCORE_COLORS if info.direction(metric) == "max" else TIME_COLORS,
        )
    ]
    nobody = ""
    if "steps_to_target_median" in results.best:
        panels.append(_time_panel(results))
        if not np.isfinite(panels[-1].values).any():
            nobody = f" No pair reached {info.target_text} with at least half of its seeds."
    return HeatChart(
        title=f"Every initializer with every optimizer, each at its {results.setting}",
        rows=tuple(results.initializers),
        columns=tuple(results.optimizers),
        panels=tuple(panels),
        foot="Bold: the row's best. Grey: every seed diverged, or fewer than half of them reached "
        f"the target.{nobody}",
    )


def _spread_words(results: Results) -> str:
    few = bool((results.best["n_finite"] <= FEW).all())
    return "its lowest and highest seed" if few else "its 95% interval"


def _score_text(cell: dict[Any, Any] | None, metric: str) -> str:
    if cell is None:
        return ""
    lost = cell["n_diverged"] == cell["n_seeds"]
    return "diverged" if lost else spread_parts(cell, metric, f"{metric}_")[0]


def _score_small(cell: dict[Any, Any] | None, metric: str) -> str:
    if cell is None:
        return ""
    spread = spread_parts(cell, metric, f"{metric}_")[1]
    parts = [spread.strip("[]").replace(", ", RANGE)] if spread else []
    if 0 < cell["n_diverged"] < cell["n_seeds"]:
        parts.append(f"{cell['n_diverged']}/{cell['n_seeds']} div.")
    return "\n".join(parts)


def _time_panel(results: Results) -> HeatPanel:
    median, low, high = (
        _matrix(results, f"steps_to_target_{part}") for part in ("median", "low", "high")
    )
    reached, seeds = _matrix(results, "n_reached"), _matrix(results, "n_seeds")
    text, small = [], []
    for i in range(len(median)):
        text.append([count(x) if np.isfinite(x) else "–" for x in median[i]])
        cells = zip(low[i], high[i], reached[i], seeds[i], strict=True)
        small.append([_time_small(*cell) for cell in cells])
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


def _time_small(low: float, high: float, reached: float, seeds: float) -> str:
    if not np.isfinite(seeds):
        return ""
    if not reached:
        return "not reached"
    return f"{low:.0f}–{high:.0f}" if np.isfinite(low + high) else f"{reached:.0f}/{seeds:.0f}"


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
    """From the least positive mean to twice the largest at the start: explosions leave it.

    The lines that do are marked with the height that they come to.
    """
    ends = clear_range(table["mean"].to_numpy(np.float64), "log")
    if ends is None:
        return None
    first = clear_range(start.to_numpy(np.float64), "log")
    top = min(ends[1], 2.0 * first[1]) if first else ends[1]
    return ends[0] / 1.25, max(top, ends[0]) * 1.25


def rate_chart(results: Results) -> LineChart | None:
    """Final score against the learning rate: a panel per optimizer, a line per initializer."""
    if RATE not in results.lanes:
        return None
    panels = []
    for optimizer in results.optimizers:
        lines = [_rate_line(results, optimizer, name) for name in results.initializers]
        found = [line for line in lines if line is not None]
        if found:
            drawn = any(np.isfinite(line.y).any() for line in found)
            panels.append(Panel(optimizer, tuple(found), "" if drawn else "every seed diverged"))
    if not any(len(line.x) + len(line.lost) > 1 for panel in panels for line in panel.series):
        return None
    metric = results.metric
    values = np.concatenate(
        [
            part
            for panel in panels
            for line in panel.series
            for part in (line.y, line.low, line.high, line.dots[:, 1])
        ]
    )
    scale = scale_of(results, metric)
    ends = clear_range(values, scale) or ((0.1, 1.0) if scale == "log" else (0.0, 0.9))
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
        foot="Bars: 95% interval of the mean over the seeds that did not diverge (dots, where they "
        "are four or fewer: the seeds); open marks: some seeds diverged; crosses at the foot: all "
        "did.",
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
        low=bar_end(kept, f"{metric}_low"),
        high=bar_end(kept, f"{metric}_high"),
        dots=dots_of(results, kept, kept[RATE].to_numpy(np.float64)),
        marks=True,
        open_marks=(kept["n_diverged"] > 0).to_numpy(bool),
        lost=tuple(lost[RATE].to_list()),
    )


def bar_end(cells: pd.DataFrame, column: str) -> Floats:
    """One end of each cell's interval; NaN where its seeds are shown instead."""
    return cells[column].where(cells["n_finite"] > FEW).to_numpy(np.float64)


def dots_of(results: Results, cells: pd.DataFrame, x: Floats) -> Floats:
    """[D, 2], the headline metric of every seed of cells that have only a few, at each cell's x.

    Args:
        results: of the study.
        cells: rows of the summary, index or column `cell`.
        x: [cells] where each stands.
    """
    names = cells.get("cell", cells.index)
    place = pd.Series(x, names)[(cells["n_finite"].between(2, FEW)).to_numpy()]
    finals = results.finals
    own = finals[(finals["role"] == "report") & finals["cell"].isin(place.index)]
    pairs = np.stack([own["cell"].map(place), own[results.metric]], axis=1).astype(np.float64)
    return pairs[np.isfinite(pairs).all(axis=1)]
