"""Comparisons between cells, paired by seed: which is best, and by how much."""

import numpy as np
import pandas as pd
import xarray as xr

from initopt_jax.stats.cells import PARTS
from initopt_jax.stats.info import StudyInfo
from initopt_jax.stats.intervals import FEW, Interval, mean_intervals
from initopt_jax.tasks.metrics import bounds_of

SEEDS = ["init_seed", "data_seed", "noise_seed"]


def compare_cells(finals: pd.DataFrame, cell: int, other: int, variable: str) -> Interval:
    """One cell minus another in one variable, over the report seeds that both have.

    Args:
        finals: as given by `final_frame`.
        cell: a cell id.
        other: another cell id.
        variable: a column of `finals`.

    Returns:
        The paired difference; `n` leaves out pairs in which either lane diverged.
    """
    row = compare_many(finals, cell, [other], variable).iloc[0]
    return Interval(float(row["mean"]), float(row["low"]), float(row["high"]), int(row["n"]))


def compare_many(finals: pd.DataFrame, cell: int, others: list[int], variable: str) -> pd.DataFrame:
    """One cell minus each of several others, as `compare_cells` does.

    Args:
        finals: as given by `final_frame`.
        cell: a cell id.
        others: other cell ids.
        variable: a column of `finals`.

    Returns:
        A row per other cell, in the order given: `n`, `mean`, `sd`, `low`, `high`, `min`, `max`;
        of a metric with two bounds the interval lies within those of a difference.
    """
    wanted = finals["cell"].isin([cell, *others]) & (finals["role"] == "report")
    wide = finals[wanted].pivot(index=SEEDS, columns="cell", values=variable)
    wide = wide.reindex(columns=[cell, *others])
    low, high = bounds_of(variable, wide)
    gaps = -wide[others].sub(wide[cell], axis=0)
    seeds = wide.index.to_frame()
    many = len(others)
    table = mean_intervals(
        gaps.to_numpy().ravel(),
        np.tile(np.arange(many), len(wide)),
        init_seed=np.repeat(seeds["init_seed"].to_numpy(), many),
        data_seed=np.repeat(seeds["data_seed"].to_numpy(), many),
        bounds=(low - high, high - low),
    )
    table = table.reindex(range(many))
    table["n"] = table["n"].fillna(0).astype(int)
    return table.set_index(pd.Index(others, name="cell"))


def best_per(
    finals: pd.DataFrame,
    best: pd.DataFrame,
    info: StudyInfo,
    variable: str,
    *,
    by: str = "initializer",
) -> pd.DataFrame:
    """For each initializer the optimizer with the best mean, against its runner-up (or crosswise).

    Cells in which a report lane diverged rank after those in which none did.

    Args:
        finals: as given by `final_frame`.
        best: as given by `best_cells`.
        info: says which direction is better.
        variable: what to compare, such as `test_accuracy`.
        by: `initializer` (which optimizer is best for each) or `optimizer` (which initializer).

    Returns:
        A row per `by`, in order: its label, `winner`, `cell`, `mean|sd|low|high|min|max` of the
        winner, `n_diverged`, `n_finite`, `n_seeds`, `runner_up` (None if alone), `difference` (an
        `Interval`, winner minus runner-up), `distinguishable` (the interval exists and excludes 0).
    """
    choice = "optimizer" if by == "initializer" else "initializer"
    sign = 1.0 if info.direction(variable) == "min" else -1.0
    ranked = best.assign(rank=(sign * best[f"{variable}_mean"]).fillna(np.inf))
    ranked = ranked.sort_values(["n_diverged", "rank", "cell"], kind="stable")
    rows = []
    for label in best[by].unique():
        order = ranked[ranked[by] == label]
        first = order.iloc[0]
        row = {by: label, "winner": first[choice], "runner_up": None, "distinguishable": False}
        row |= {part: first[f"{variable}_{part}"] for part in PARTS}
        row |= {part: first[part] for part in ("cell", "n_diverged", "n_finite", "n_seeds")}
        row["difference"] = Interval(np.nan, np.nan, np.nan, 0)
        if len(order) > 1:
            second = order.iloc[1]
            row["runner_up"] = second[choice]
            row["difference"] = compare_cells(
                finals, int(first["cell"]), int(second["cell"]), variable
            )
            row["distinguishable"] = row["difference"].excludes_zero
        rows.append(row)
    return pd.DataFrame(rows)


def curve_bands(
    dataset: xr.Dataset, lanes: pd.DataFrame, cells: list[int], variable: str
) -> pd.DataFrame:
    """Mean and 95% interval over report seeds at each evaluation of each cell.

    Of `FEW` seeds or fewer `low` and `high` are the lowest and the highest.

    Lanes that diverged are left out, unless all of the cell did: then each counts until then.

    Args:
        dataset: the results.
        lanes: the lane table, index lane id.
        cells: which cells.
        variable: of dims (lane, eval), or (lane, eval, leaf).

    Returns:
        Long form, sorted: `cell`, `eval`, (`leaf`,) `step`, `examples_seen`, `n`, `mean`, `low`,
        `high`, `min`, `max`, `diverged` (all lanes of the cell did).
    """
    wanted = lanes[lanes["cell"].isin(cells) & (lanes["role"] == "report")]
    place = dataset.get_index("lane").get_indexer(wanted.index)
    wanted, place = wanted[place >= 0], place[place >= 0]
    if not len(wanted):
        return pd.DataFrame(columns=["cell", "eval", "leaf", "mean", "low", "high"])
    values = dataset[variable].values[place].astype(np.float64)
    leaves = dataset["leaf"].values if values.ndim == 3 else np.array([""])
    values = values.reshape(*values.shape[:2], len(leaves))
    diverged = pd.Series(dataset["diverged"].values[place].astype(bool), wanted.index)
    cell = wanted["cell"].to_numpy()
    lost = diverged.groupby(cell).transform("all").to_numpy()
    values = np.where((diverged.to_numpy() & ~lost)[:, None, None], np.nan, values)
    step = dataset["step"].values[place]
    values = np.where(np.isfinite(step)[:, :, None], values, np.nan)
    names, group = np.unique(cell, return_inverse=True)
    evals, many = values.shape[1], len(leaves)
    index = (group[:, None, None] * evals + np.arange(evals)[:, None]) * many + np.arange(many)
    # Seeds that do not repeat in a cell change nothing, and take most of the time and memory.
    init, data = (
        _spread(wanted[axis], values) if wanted.duplicated(["cell", axis]).any() else None
        for axis in ("init_seed", "data_seed")
    )
    bounds = bounds_of(variable, values)
    table = mean_intervals(
        values.ravel(), index.ravel(), init_seed=init, data_seed=data, bounds=bounds
    )
    few = table["n"] <= FEW
    for bound, end in (("low", "min"), ("high", "max")):
        table[bound] = table[bound].where(~few, table[end].where(table["n"] > 1))
    code = table.index.to_numpy()
    where = code // (evals * many), code // many % evals
    first = np.unique(cell, return_index=True)[1]
    table.insert(0, "cell", names[where[0]])
    table.insert(1, "eval", where[1])
    table.insert(2, "leaf", leaves[code % many])
    for axis in ("step", "examples_seen"):
        table[axis] = dataset[axis].values[place][first][where]
    table["diverged"] = lost[first][where[0]]
    return table.dropna(subset=["step"]).reset_index(drop=True)


def _spread(seeds: pd.Series, values: np.ndarray) -> np.ndarray:
    return np.broadcast_to(seeds.to_numpy()[:, None, None], values.shape).ravel()
