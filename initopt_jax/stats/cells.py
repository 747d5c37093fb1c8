"""From lanes to cells: the spread over seeds, and the choice of hyperparameters by tuning seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from initopt_jax.stats.info import STEPS, StudyInfo, metric_variables
from initopt_jax.stats.intervals import mean_intervals, reach_medians, wilson_interval
from initopt_jax.tasks.metrics import bounds_of

PARTS = ("mean", "sd", "low", "high", "min", "max")  # of a metric over seeds
TIMES = (STEPS, "examples_to_target", "flops_to_target")
RATE = "optimizer.learning_rate"
# An edge of the grid matters only if the metric still improves there by more than this share, and
# by more than this many standard errors.
EDGE_GAIN, EDGE_ERRORS = 0.01, 2.0


def last_values(dataset: xr.Dataset, variable: str) -> npt.NDArray[np.float64]:
    """Each lane's value at its own last evaluation (padding has no `step`), [L]."""
    values = dataset[variable].values.astype(np.float64)
    if values.ndim == 1:
        return values
    last = _last_eval(dataset)
    return np.where(last >= 0, values[np.arange(len(values)), last], np.nan)


def _last_eval(dataset: xr.Dataset) -> npt.NDArray[np.int64]:
    present = np.isfinite(dataset["step"].values)
    return np.where(
        present.any(axis=1), present.shape[1] - 1 - np.argmax(present[:, ::-1], axis=1), -1
    )


def final_frame(dataset: xr.Dataset, lanes: pd.DataFrame, info: StudyInfo) -> pd.DataFrame:
    """The lane table with each lane's final metrics, NaN where the lane diverged.

    Args:
        dataset: the results; lanes that it lacks are left out.
        lanes: the lane table, index lane id.
        info: names the metrics.

    Returns:
        A row per lane: the columns of `lanes`, every metric's final value, `diverged`, the
        `*_to_target` times and `mean_loss` (the average loss over the evaluations: how slowly it
        learned).
    """
    columns: dict[str, npt.NDArray[np.generic]] = {}
    diverged = dataset["diverged"].values.astype(bool)
    for variable in metric_variables(dataset, info):
        columns[variable] = np.where(diverged, np.nan, last_values(dataset, variable))
    columns["diverged"] = diverged
    for time in TIMES:
        if time in dataset:
            columns[time] = dataset[time].values.astype(np.float64)
    loss = "val_loss" if "val_loss" in dataset else "train_loss"
    if loss in dataset:
        columns["mean_loss"] = np.where(diverged, np.nan, _lane_mean(dataset, loss))
    finals = pd.DataFrame(columns, index=pd.Index(dataset["lane"].values, name="lane"))
    return lanes.join(finals, how="inner")


def _lane_mean(dataset: xr.Dataset, variable: str) -> npt.NDArray[np.float64]:
    present = np.isfinite(dataset["step"].values)
    values = np.where(present, dataset[variable].values.astype(np.float64), 0.0)
    return values.sum(axis=1) / np.maximum(present.sum(axis=1), 1)


def cell_columns(lanes: pd.DataFrame) -> list[str]:
    """The columns that tell cells apart: initializer, optimizer and every hyperparameter."""
    options = [name for name in lanes if str(name).startswith(("initializer.", "optimizer."))]
    return ["initializer", "optimizer", *map(str, options)]


def cell_summary(
    dataset: xr.Dataset, lanes: pd.DataFrame, info: StudyInfo, *, role: str = "report"
) -> pd.DataFrame:
    """One row per cell over the seeds of one role.

    Means are over the lanes that did not diverge (`n_finite` of `n_seeds`); the share that
    diverged stands beside them. Shares carry Wilson intervals, means Student-t intervals within
    their metric's bounds, medians order-statistic intervals, all at 95% and for one number at a
    time.

    Args:
        dataset: the results.
        lanes: the lane table, index lane id.
        info: names the metrics.
        role: `report` or `tuning`.

    Returns:
        Index `cell`; the columns of `cell_columns`, then `n_seeds`, `n_finite`, `n_diverged`,
        `diverged_share|low|high`; per metric `<metric>_mean|sd|low|high|min|max`; with a target
        `n_reached`, `reached_share|low|high` and per time `<time>_median|low|high`.
    """
    return _summary(final_frame(dataset, lanes, info), metric_variables(dataset, info), info, role)


def _summary(
    finals: pd.DataFrame, variables: Sequence[str], info: StudyInfo, role: str
) -> pd.DataFrame:
    """`cell_summary` of the lanes' final values of some variables."""
    finals = finals[finals["role"] == role]
    by_cell = finals.groupby("cell")
    summary = by_cell[cell_columns(finals)].first()
    summary["n_seeds"] = by_cell.size()
    bad = finals["diverged"]
    summary["n_diverged"] = bad.groupby(finals["cell"]).sum().astype(int)
    summary["n_finite"] = summary["n_seeds"] - summary["n_diverged"]
    _add_share(summary, "diverged", summary["n_diverged"])
    seeds = {"init_seed": finals["init_seed"], "data_seed": finals["data_seed"]}
    for variable in variables:
        values = finals[variable]
        table = mean_intervals(values, finals["cell"], bounds=bounds_of(variable, values), **seeds)
        for part in PARTS:
            summary[f"{variable}_{part}"] = table[part]
    times = [time for time in TIMES if time in finals]
    if info.target is not None and times:
        summary["n_reached"] = by_cell[times[0]].count().astype(int)
        _add_share(summary, "reached", summary["n_reached"])
        for time in times:
            table = reach_medians(finals[time], finals["cell"])
            for part in ("median", "low", "high"):
                summary[f"{time}_{part}"] = table[part]
    return summary


def _add_share(summary: pd.DataFrame, name: str, count: pd.Series) -> None:
    summary[f"{name}_share"] = count / summary["n_seeds"]
    low, high = wilson_interval(count, summary["n_seeds"])
    summary[f"{name}_low"], summary[f"{name}_high"] = low, high


def best_cells(dataset: xr.Dataset, lanes: pd.DataFrame, info: StudyInfo) -> pd.DataFrame:
    """The tuned cell of each initializer and optimizer, with its numbers on fresh seeds.

    A cell is chosen by its mean `info.selection` over tuning seeds, which a study has where there
    is something to choose. Cells in which a tuning lane diverged (or, where the selection is
    `steps_to_target`, did not reach the target) rank after
    those in which none did, by how many; ties go to the lower cell id, of `steps_to_target` first
    to the lower mean loss of the run.

    Args:
        dataset: the results.
        lanes: the lane table, index lane id.
        info: names the selection metric.

    Returns:
        A row per (initializer, optimizer) in the order of the lane table: `cell`, the columns of
        `cell_summary`, `chosen_on` (`tuning`; `only cell` where there was nothing to choose;
        `report` where a study has no tuning seeds, so that its numbers are optimistic) and
        `at_edge`: the chosen learning rate ends its axis, and the metric still improves there over
        the rate next to it by more than 1% and two standard errors (or that one diverged), so that
        a wider grid could help.
    """
    return tables(dataset, lanes, info).best


class Tables(NamedTuple):
    """What a study comes to: as of `final_frame`, `cell_summary` and `best_cells`."""

    finals: pd.DataFrame
    summary: pd.DataFrame
    best: pd.DataFrame


def tables(dataset: xr.Dataset, lanes: pd.DataFrame, info: StudyInfo) -> Tables:
    """All three, each computed once; arguments as of `best_cells`."""
    finals = final_frame(dataset, lanes, info)
    summary = _summary(finals, metric_variables(dataset, info), info, "report")
    return Tables(finals, summary, _best(finals, summary, lanes, info))


def _best(
    finals: pd.DataFrame, summary: pd.DataFrame, lanes: pd.DataFrame, info: StudyInfo
) -> pd.DataFrame:
    """`best_cells` of the lanes' final values and the cells' numbers."""
    score = _scores(finals, lanes, info)
    score = score.join(lanes.groupby("cell")[cell_columns(lanes)].first())
    score = score.sort_values(["n_bad", "rank", "loss", "cell"], kind="stable")
    pairs = score.groupby(["initializer", "optimizer"], sort=False)
    chosen = score.loc[pairs.head(1).index].copy()
    sizes = pairs.size().reindex(list(zip(chosen["initializer"], chosen["optimizer"], strict=True)))
    chosen["chosen_on"] = np.where(sizes.to_numpy() > 1, chosen["role"], "only cell")
    chosen["at_edge"] = _at_edge(score, chosen)
    numbers = summary.drop(columns=cell_columns(lanes))
    kept = chosen[[*cell_columns(lanes), "chosen_on", "at_edge"]]
    return _config_order(kept.join(numbers).reset_index(), lanes)


def _scores(finals: pd.DataFrame, lanes: pd.DataFrame, info: StudyInfo) -> pd.DataFrame:
    """Per cell: `rank`, the mean turned so that lower is better, `error`, `n_bad` and `loss`.

    They are those of its lanes of `role`: of tuning where it has such, else of report.
    """
    tuned = finals["cell"].isin(lanes.loc[lanes["role"] == "tuning", "cell"])
    role = pd.Series(np.where(tuned, "tuning", "report"), finals.index)
    finals = finals[finals["role"] == role]
    values = finals[info.selection].where(np.isfinite(finals[info.selection]))
    by_cell = values.groupby(finals["cell"])
    score = by_cell.mean()
    sign = 1.0 if info.direction(info.selection) == "min" else -1.0
    # Where nobody reaches the target, all are level: then the loss must tell.
    tied = info.selection == STEPS and "mean_loss" in finals
    loss = finals["mean_loss"] if tied else pd.Series(0.0, finals.index)
    return pd.DataFrame(
        {
            "rank": (sign * score).fillna(np.inf),
            "error": (by_cell.std(ddof=1) / np.sqrt(by_cell.count())).fillna(0.0),
            "n_bad": by_cell.size() - by_cell.count(),
            "loss": loss.groupby(finals["cell"]).mean().fillna(np.inf),
            "role": finals.groupby("cell")["role"].first(),
        }
    )


def _at_edge(score: pd.DataFrame, chosen: pd.DataFrame) -> npt.NDArray[np.bool_]:
    if RATE not in score:
        return np.zeros(len(chosen), bool)
    others = [name for name in cell_columns(score) if name != RATE]
    axis = score.reset_index().sort_values([RATE, "cell"]).dropna(subset=[RATE])
    by_axis = axis.groupby(others, dropna=False, sort=False)
    place, length = by_axis.cumcount(), by_axis["rank"].transform("size")
    ends = (length > 1) & ((place == 0) | (place == length - 1))
    # The neighbour of an end: the one before it, or for the first the one after.
    inner = {
        name: by_axis[name].shift(1).where(place > 0, by_axis[name].shift(-1))
        for name in ("rank", "error", "n_bad")
    }
    noise = EDGE_ERRORS * np.hypot(inner["error"], axis["error"])
    least = np.maximum(noise, EDGE_GAIN * np.abs(inner["rank"]))
    gains = inner["rank"] - axis["rank"] > least
    helps = gains | (inner["n_bad"] > 0)
    flag = pd.Series((ends & helps).to_numpy(), axis["cell"])
    return flag.reindex(chosen.index, fill_value=False).to_numpy(bool)


def _config_order(table: pd.DataFrame, lanes: pd.DataFrame) -> pd.DataFrame:
    keys = {name: _positions(lanes, name) for name in ("initializer", "optimizer")}
    order = table.sort_values(
        ["initializer", "optimizer"], key=lambda column: column.map(keys[str(column.name)])
    )
    return order.reset_index(drop=True)


def _positions(lanes: pd.DataFrame, column: str) -> dict[str, int]:
    return {label: place for place, label in enumerate(labels(lanes, column))}


def labels(lanes: pd.DataFrame, column: str) -> list[str]:
    """The distinct values of a column by first appearance in lane order, which is config order."""
    return list(lanes.sort_index()[column].unique())
