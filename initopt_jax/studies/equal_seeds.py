"""Seeds that are told apart by their numbers alone: the same first weights, or the same curves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from initopt_jax.audits import LeafAudit
from initopt_jax.engine.initial import FirstWeights
from initopt_jax.planning.resolve import Experiment
from initopt_jax.tree import named_leaves

LISTED = 6
CURVES = (("lane", "eval"), ("lane", "eval", "coordinate"))  # metrics, and points of the plane
BY_DESIGN = ("constant", "exact")  # distributions of initializers that draw nothing


def known_notes(
    experiment: Experiment, initial: FirstWeights, audited: Sequence[LeafAudit]
) -> list[str]:
    """What is known of equal seeds before anything is trained, a sentence each.

    Args:
        experiment: to be trained.
        initial: its first weights.
        audited: the audit of them; leaves of a distribution without chance are equal by design.
    """
    notes = list(experiment.notes)
    if experiment.test_function:
        return notes
    fixed = {(row.initializer, row.path) for row in audited if row.distribution in BY_DESIGN}
    rows = experiment.lanes.groupby("initializer_cell")["init_seed"].unique()
    for index, seeds in rows.items():
        label, two = experiment.initializer_cells[int(str(index))].label, sorted(seeds)[:2]
        if len(two) == 2:
            one, other = (named_leaves(initial(int(str(index)), int(seed))) for seed in two)
            same = [
                path
                for (path, left), (_, right) in zip(one, other, strict=True)
                if (label, path) not in fixed and _same_draw(left, right)
            ]
            if same:
                notes.append(
                    f"initializer {label!r} gives {_few(same)} the same weights for every seed: it "
                    "does not use its key"
                )
    return notes


def curve_notes(results: xr.Dataset, lanes: pd.DataFrame) -> list[str]:
    """Which cells have lanes of different seeds with the same curves, in one sentence or none.

    Args:
        results: of a finished study.
        lanes: its lane table.
    """
    curves = [
        results[name].to_numpy()
        for name in results.data_vars
        if results[name].dims in CURVES and name not in ("step", "examples_seen")
    ]
    values = np.concatenate([curve.reshape(len(lanes), -1) for curve in curves], axis=1)
    text = pd.Series([row.tobytes() for row in np.ascontiguousarray(values)], lanes.index)
    text = text[~np.isnan(values).all(axis=1)]
    cells = lanes.loc[text.index, ["cell", "initializer", "optimizer"]].assign(text=text)
    repeated = cells[cells.duplicated(["cell", "text"], keep=False)]
    pairs = repeated[["initializer", "optimizer"]].drop_duplicates()
    if pairs.empty:
        return []
    said = [f"{row.initializer} with {row.optimizer}" for row in pairs.itertuples()]
    note = f"different seeds have the same curves, bit for bit: {_few(said)}; nothing in these "
    return [note + "networks is drawn from a seed, and their number says nothing"]


def _same_draw(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two leaves are equal, and not by being all of one value."""
    return np.ptp(one) > 0 and one.tobytes() == other.tobytes() if one.size else False


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
