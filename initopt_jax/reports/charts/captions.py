"""Sentences computed from the numbers, with intervals; they claim no more than these allow."""

import numpy as np
import pandas as pd

from initopt_jax.reports.charts.descriptions import LineChart
from initopt_jax.reports.charts.numbers import count, gap, listed, rate, score, spread
from initopt_jax.reports.charts.results import Results
from initopt_jax.stats import best_per, compare_cells, compare_many, wilson_interval
from initopt_jax.stats.cells import RATE

CONSTANT = ("zeros", "ones", "constant")


def how_chosen(best: pd.DataFrame) -> str:
    """How the settings of a table of tuned cells were chosen.

    >>> how_chosen(pd.DataFrame({"chosen_on": ["tuning", "only cell"]}))
    'tuned on other seeds where there are several settings, measured on fresh ones'
    """
    ways = set(best["chosen_on"])
    if "report" in ways:
        return "chosen on the seeds that are shown, for want of tuning seeds"
    if "tuning" not in ways:
        return "one setting each, nothing to tune"
    where = " where there are several settings" if "only cell" in ways else ""
    return f"tuned on other seeds{where}, measured on fresh ones"


def pair(row: pd.Series) -> str:
    """A tuned cell's name: initializer with optimizer."""
    return f"{row['initializer']} with {row['optimizer']}"


def ranking(results: Results) -> pd.DataFrame:
    """The tuned cells, best first: those that never diverged, by mean score, ties by cell id."""
    sign = 1.0 if results.info.direction(results.metric) == "min" else -1.0
    rank = (sign * results.best[f"{results.metric}_mean"]).fillna(np.inf)
    order = results.best.assign(rank=rank).sort_values(["n_diverged", "rank", "cell"])
    return order[np.isfinite(order["rank"])]


def scale_sentence(results: Results) -> str:
    """How many networks, of what, on what."""
    lanes, info = results.lanes, results.info
    report = lanes[lanes["role"] == "report"]
    seeds = report.groupby("cell").size().max() if len(report) else 0
    tuning = len(lanes) - len(report)
    more = f" and {tuning:,} more on other seeds for tuning" if tuning else ""
    if info.is_function:
        what = f"{len(report):,} runs minimized the test function {info.model}{more}: "
    else:
        what = f"{len(report):,} networks ({info.model}) were trained on {info.dataset}{more}: "
    return (
        f"{what}"
        f"{_number(len(results.initializers), 'initializer')} × "
        f"{_number(len(results.optimizers), 'optimizer')}, "
        f"{_number(lanes['cell'].nunique(), 'setting')} in all, "
        f"{_number(int(seeds), 'seed')} each."
    )


def _number(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def best_sentence(results: Results) -> str:
    """The best pair, and how many others cannot be told from it."""
    order, metric = ranking(results), results.metric
    if order.empty:
        return f"Every {results.info.lane} diverged: there is no best pair."
    first = order.iloc[0]
    text = f"Best: {pair(first)}, {_scored(first, results)}"
    if np.isfinite(first.get(RATE, np.nan)):
        text += f" at learning rate {rate(first[RATE])}"
    others = order.iloc[1:]
    if others.empty:
        return text + "."
    found = compare_many(results.finals, int(first["cell"]), others["cell"].tolist(), metric)
    if found["n"].max() <= 1:
        return text + "; with one seed there is no interval, so no ranking is claimed."
    apart = int(((found["low"] > 0) | (found["high"] < 0)).sum())
    tied = f"{len(found) - apart} of {_number(len(found), 'other pair')}"
    return f"{text}; {tied} cannot be told from it over these seeds."


def _scored(row: pd.Series, results: Results) -> str:
    metric = results.metric
    return f"{spread(row, metric, f'{metric}_')} {results.info.readable(metric)}"


def comparison_sentences(results: Results, by: str = "initializer") -> list[str]:
    """For each initializer its best optimizer against the runner-up (or the other way round)."""
    metric = results.metric
    sentences = []
    for row in best_per(results.finals, results.best, results.info, metric, by=by).to_dict(
        "records"
    ):
        label = row[by]
        if not np.isfinite(row["mean"]):
            sentences.append(f"{label}: every {results.info.lane} diverged.")
            continue
        value = spread(row, metric)
        text = f"{label}: {row['winner']} leads with {value} {results.info.readable(metric)}"
        if row["n_diverged"]:
            text += f" ({row['n_diverged']} of {row['n_seeds']} diverged)"
        if row["runner_up"] is None:
            sentences.append(text + "; it has no rival.")
            continue
        difference = row["difference"]
        if difference.is_zero:
            sentences.append(f"{text}, level with {row['runner_up']} in every seed.")
            continue
        text += f", ahead of {row['runner_up']} by "
        text += gap(difference.mean, difference.low, difference.high, metric)
        if row["distinguishable"]:
            text += "."
        elif np.isfinite(difference.low):
            text += ": not distinguishable."
        else:
            text += ": too few seeds to tell."
        sentences.append(text)
    return sentences


def constant_sentences(results: Results) -> list[str]:
    """What became of networks whose weights all start equal."""
    info, metric, best = results.info, results.metric, results.best
    sentences: list[str] = []
    if info.is_function:  # a point has no units that could stay alike
        return sentences
    for label in results.initializers:
        if not label.startswith(CONSTANT):
            continue
        rows = ranking(results)
        rows = rows[rows["initializer"] == label]
        if rows.empty:
            sentences.append(f"{label}: every network diverged.")
            continue
        top = rows.iloc[0]
        text = f"{label}: the best optimizer ({top['optimizer']}) ends at {_scored(top, results)}"
        if info.chance is not None and metric.startswith("test_"):
            upward = info.direction(metric) == "max"
            sign, bound = (1, "low") if upward else (-1, "high")
            limit = "at most" if upward else "no less than"
            text += f"; ignoring the input can give {limit} {score(info.chance, metric)}"
            if sign * float(top[f"{metric}_{bound}"]) > sign * info.chance:
                text += ", so something was learned from it"
            elif sign * float(top[f"{metric}_mean"]) <= sign * info.chance:
                text += ", so nothing was learned from it"
            else:
                text += ", which these seeds cannot tell apart"
        if "weight_norm" in results.dataset and (held := _held(results, best, label)):
            text += f". {held}"
        sentences.append(text + ".")
    return sentences


def _held(results: Results, best: pd.DataFrame, label: str) -> str:
    """Whether kernels of an initializer's networks were exactly zero at every evaluation."""
    dataset = results.dataset
    kernels = [leaf for leaf in dataset["leaf"].values if str(leaf).endswith("kernel")]
    cells = best.loc[best["initializer"] == label, "cell"]
    lanes = results.finals.index[results.finals["cell"].isin(cells) & ~results.finals["diverged"]]
    norms = dataset["weight_norm"].sel(lane=lanes, leaf=kernels).values
    if norms.size and np.nanmax(norms, initial=0.0) == 0.0:
        return "Every kernel stayed exactly zero from the first step to the last"
    return ""


def speed_sentences(results: Results) -> list[str]:
    """The fastest pair against the most accurate, and who never arrived."""
    info, metric = results.info, results.metric
    if info.target is None or "steps_to_target_median" not in results.best:
        return []
    order = ranking(results)
    reached = order[np.isfinite(order["steps_to_target_median"])]
    total = len(results.best)
    if reached.empty:
        return [f"No pair reached {info.target_text} with at least half of its seeds."]
    fast = reached.sort_values(["steps_to_target_median", "rank", "cell"]).iloc[0]
    text = (
        f"{len(reached)} of {_number(total, 'pair')} reached {info.target_text} with at least half "
        f"of the seeds. Fastest: {pair(fast)}, median {count(fast['steps_to_target_median'])} steps"
    )
    flops = "flops_to_target_median"
    if flops in reached:
        # A step of a full-batch method costs many times more than one on a mini-batch.
        cheap = reached.sort_values([flops, "rank", "cell"]).iloc[0]
        if cheap[flops] < fast[flops]:
            text += f" (cheapest: {pair(cheap)}, {count(cheap[flops])} operations"
            text += f" against {count(fast[flops])})"
    top = order.iloc[0]
    if top["cell"] == fast["cell"]:
        return [text + f"; it is also the one with the best {results.info.readable(metric)}."]
    difference = compare_cells(results.finals, int(top["cell"]), int(fast["cell"]), metric)
    text += f". Best {results.info.readable(metric)}: {pair(top)}, "
    steps = float(top["steps_to_target_median"])
    text += f"median {count(steps)} steps" if np.isfinite(steps) else "which did not reach it"
    text += f"; it gains {gap(difference.mean, difference.low, difference.high, metric)}"
    return [text + ("." if difference.excludes_zero else ": no gain can be shown.")]


def divergence_sentences(results: Results) -> list[str]:
    """The share of reported networks that diverged, by optimizer and learning rate."""
    finals = results.finals[results.finals["role"] == "report"]
    lost, total = int(finals["diverged"].sum()), len(finals)
    if not lost:
        return [f"None of the {total:,} reported {results.info.lane}s diverged."]
    low, high = (float(bound) for bound in wilson_interval(lost, total))
    share = f"{lost / total:.1%}; 95% interval {low:.1%} to {high:.1%}"
    sentences = [f"{lost:,} of the {total:,} reported {results.info.lane}s diverged ({share})."]
    for optimizer in results.optimizers:
        own = finals[finals["optimizer"] == optimizer]
        if not own["diverged"].any():
            continue
        text = f"{optimizer}: {int(own['diverged'].sum())} of {len(own)}"
        if RATE in own and own[RATE].nunique() > 1:
            shares = own.groupby(RATE)["diverged"].mean()
            parts = [f"{share:.0%} at {rate(float(at))}" for at, share in shares.items() if share]
            text += f" ({listed(parts)})"
        sentences.append(text + ".")
    return sentences


def edge_sentence(results: Results) -> str:
    """Which pairs might do better on a wider grid of learning rates."""
    edge = results.best[results.best["at_edge"]]
    if edge.empty:
        return ""
    names = [f"{pair(row)} ({rate(row[RATE])})" for _, row in edge.iterrows()]
    shown = (
        listed(names) if len(names) <= 6 else ", ".join(names[:6]) + f" and {len(names) - 6} more"
    )
    return (
        f"For {_number(len(edge), 'pair')} the chosen learning rate is the end of its axis and the "
        f"results were still improving there, so a wider grid may do better: {shown}."
    )


# --- one sentence per figure --------------------------------------------------------------------


def heat_caption(results: Results) -> str:
    """The range of the matrix."""
    order = ranking(results)
    if order.empty:
        return f"Every {results.info.lane} diverged."
    first, last = order.iloc[0], order.iloc[-1]
    if len(order) == 1:
        return f"{pair(first)} ends at {_scored(first, results)}."
    return (
        f"From {_scored(last, results)} ({pair(last)}) to {_scored(first, results)} "
        f"({pair(first)})."
    )


def curve_caption(chart: LineChart) -> str:
    """Which curve ends lowest and which highest."""
    ends = [
        (float(line.y[np.isfinite(line.y)][-1]), f"{panel.title} with {line.label}")
        for panel in chart.panels
        for line in panel.series
        if np.isfinite(line.y).any() and not line.lost
    ]
    if not ends:
        return "No curve reaches the end: every one diverged."
    low, high = min(ends), max(ends)
    text = f"The lowest curve ends at {score(low[0], chart.metric)} ({low[1]})"
    return text + (
        f", the highest at {score(high[0], chart.metric)} ({high[1]})." if len(ends) > 1 else "."
    )


def rate_caption(chart: LineChart) -> str:
    """How much of the score each optimizer loses at its worst learning rate."""
    drops = []
    for panel in chart.panels:
        worst = [np.min(line.y) for line in panel.series if len(line.y)]
        top = [np.max(line.y) for line in panel.series if len(line.y)]
        if worst:
            drops.append((float(np.median(top)), float(np.median(worst)), panel.title))
    if not drops:
        return "Every one diverged at every learning rate."
    metric = chart.metric
    calm = min(drops, key=lambda drop: drop[0] - drop[1])
    wild = max(drops, key=lambda drop: drop[0] - drop[1])

    def told(drop: tuple[float, float, str]) -> str:
        return f"{drop[2]} (from {score(drop[1], metric)} to {score(drop[0], metric)})"

    opening = "Between its worst and best learning rate, for the median initializer, "
    if len(drops) == 1:
        return f"{opening}{told(calm)} moves this much."
    return f"{opening}{told(wild)} moves most and {told(calm)} least."


def norm_caption(chart: LineChart) -> str:
    """Which kernel moved most."""
    moves = []
    for place, panel in enumerate(chart.panels):
        for line in panel.series:
            y = line.y[np.isfinite(line.y)]
            if y.size:
                leaf = chart.row_labels[place // chart.columns]
                name = f"{leaf} under {panel.title} with {line.label}"
                moves.append((abs(float(y[-1] - y[0])), float(y[0]), float(y[-1]), name))
    if not moves:
        return "No norms were recorded."
    _, start, end, name = max(moves)
    return f"The largest change is in {name}: from {start:.3g} to {end:.3g}."
