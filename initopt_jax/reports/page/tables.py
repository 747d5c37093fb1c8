"""Tables: every cell for machines, the tuned cells for readers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from initopt_jax.reports.charts.numbers import count, rate_among, spread
from initopt_jax.reports.charts.results import Results
from initopt_jax.reports.charts.texts import markdown_text, one_line, renamed, shown_names
from initopt_jax.stats import StudyInfo, cell_columns, labels
from initopt_jax.stats.cells import RATE
from initopt_jax.store.csv_table import to_csv

PAIR = ("initializer", "optimizer")


class TableCell(NamedTuple):
    """One table cell: its text, and the number or text that sorting goes by."""

    text: str
    key: float | str


class Table(NamedTuple):
    """Column headings and rows of entries."""

    headings: list[str]
    rows: list[list[TableCell]]


def summary_frame(results: Results) -> pd.DataFrame:
    """Every cell with its spread over the report seeds, for `summary.csv`.

    Args:
        results: of the study.

    Returns:
        A row per cell: `cell`, `tuned` (chosen for its initializer and optimizer), `at_edge`, then
        the columns of `cell_summary`.
    """
    frame = results.summary.reset_index()
    for name in PAIR:
        whole = {shown: label for label, shown in results.names[name].items()}
        frame[name] = frame[name].map(whole)
    chosen = results.best.set_index("cell")["at_edge"]
    frame.insert(1, "tuned", frame["cell"].isin(chosen.index))
    frame.insert(2, "at_edge", frame["cell"].map(chosen).eq(True))
    return frame


def summary_csv(results: Results) -> bytes:
    """`summary_frame` as CSV; nine digits hold every float32 exactly, seventeen every float64."""
    digits = 17 if results.dataset["val_loss"].dtype == np.float64 else 9
    return to_csv(summary_frame(results), lambda value: f"{value:.{digits}g}")


def best_table(best: pd.DataFrame, lanes: pd.DataFrame, info: StudyInfo) -> Table:
    """The tuned cells in words and numbers, for the console and the HTML report.

    Args:
        best: as given by `best_cells`.
        lanes: the lane table; tells which hyperparameters were swept.
        info: names the metric.

    Returns:
        Initializer, optimizer, chosen setting, final score, steps to target (with a target), share
        diverged, and a mark where the learning rate is at the end of its axis.
    """
    metric = next(
        name
        for name in (f"{split}_{info.primary}" for split in ("test", "val", "train"))
        if f"{name}_mean" in best
    )
    timed = "steps_to_target_median" in best
    headings = ["initializer", "optimizer", "setting", info.readable(metric)]
    headings += ["steps to target"] if timed else []
    headings += ["diverged"]
    rows = []
    for row in best.to_dict("records"):
        mean = float(row[f"{metric}_mean"])
        lost = float(row["diverged_share"])
        entries = [
            *(TableCell(one_line(str(row[name])), str(row[name])) for name in PAIR),
            TableCell(_setting(row, lanes), float(row.get(RATE, np.nan))),
            TableCell(spread(row, metric, f"{metric}_"), mean),
        ]
        if timed:
            median = float(row["steps_to_target_median"])
            text = count(median) if np.isfinite(median) else "not reached"
            entries.append(TableCell(text, median))
        seeds = f"{row['n_diverged']:.0f}/{row['n_seeds']:.0f}"
        entries.append(TableCell(seeds if np.isfinite(lost) else "n/a", lost))
        rows.append(entries)
    return Table(headings, rows)


def tuned_table(
    best: pd.DataFrame, lanes: pd.DataFrame, info: StudyInfo
) -> tuple[Table, list[tuple[str, str]]]:
    """`best_table` of names as a study has them, and the names that are not shown as they are."""
    names = {name: shown_names(labels(lanes, name)) for name in PAIR}

    def shown(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: frame[name].map(names[name]) for name in PAIR})

    table = best_table(shown(best), shown(lanes), info)
    return table, [pair for name in PAIR for pair in renamed(names[name])]


def crossed(table: Table) -> str:
    """The tuned cells in Markdown: a row per initializer, a column per optimizer.

    Args:
        table: as given by `best_table`.

    Returns:
        A table for the score and, where there is a target, one for the steps to it. What was swept
        stands in parentheses; a star marks a learning rate at the end of its axis.

    >>> cells = [("zeros", "sgd", "rate 0.1", "10%")]
    >>> cells += [("zeros", "adam", "rate 1 (end of its axis)", "9%")]
    >>> rows = [[TableCell(text, 0.0) for text in cell] for cell in cells]
    >>> print(crossed(Table(["initializer", "optimizer", "setting", "accuracy"], rows)))
    | accuracy | sgd | adam |
    | --- | --- | --- |
    | zeros | 10% (rate 0.1) | 9% (rate 1 *) |
    """
    texts = [[markdown_text(entry.text) for entry in row] for row in table.rows]
    initializers = list(dict.fromkeys(row[0] for row in texts))
    optimizers = list(dict.fromkeys(row[1] for row in texts))
    parts = []
    for column in range(3, 5 if table.headings[4:5] == ["steps to target"] else 4):
        cells = {(row[0], row[1]): _crossing(row, column) for row in texts}
        lines = [
            [markdown_text(table.headings[column]), *optimizers],
            ["---"] * (len(optimizers) + 1),
        ]
        lines += [
            [name, *(cells.get((name, other), "") for other in optimizers)] for name in initializers
        ]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts)


def _crossing(row: Sequence[str], column: int) -> str:
    if column > 3 or row[2] == "as given":
        return row[column]
    return f"{row[column]} ({row[2].replace(' (end of its axis)', ' *')})"


def _setting(row: dict[str, object], lanes: pd.DataFrame) -> str:
    """The hyperparameters that were swept for this pair, and the learning rate in any case."""
    own = (lanes["initializer"] == row["initializer"]) & (lanes["optimizer"] == row["optimizer"])
    swept = lanes.loc[own, cell_columns(lanes)].nunique()
    parts = []
    for column, values in swept.items():
        name = str(column)
        if name == RATE or values > 1:
            value = float(str(row[name]))
            if np.isfinite(value):
                short = "rate" if name == RATE else name.partition(".")[2]
                parts.append(f"{short} {rate_among(value, lanes.loc[own, column])}")
    mark = " (end of its axis)" if row["at_edge"] else ""
    return ", ".join(parts) + mark if parts else "as given"
