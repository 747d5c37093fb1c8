"""Taking turns, and what the numbers say: medians, ratios within a round, goals."""

import datetime as dt
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import OtherLoad, matrix_rate
from benchmarks.pace import Timed

RESULTS = Path(__file__).parent / "results"
Rates = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Contender:
    """A way to train the network.

    Attributes:
        name: in the table.
        variants: settings to Timed; the variant with the best median speaks for the contender.
        goal: how many times faster the engine should be; None where no goal was set.
    """

    name: str
    variants: dict[str, Timed]
    goal: float | None = None


def measure(
    contenders: Sequence[Contender], rounds: int, seconds: float, dtype: str, console: Console
) -> tuple[Rates, list[float], list[str]]:
    """Rates in turns, every round in the reverse order of the one before.

    Returns:
        Steps per second: contender, variant, one number per round. Then the matrix-product rate of
        each round, the better of its beginning and end, and which way of multiplying it was.
    """
    turns = [(c.name, label, run) for c in contenders for label, run in c.variants.items()]
    rates: Rates = {c.name: {label: [] for label in c.variants} for c in contenders}
    limits: list[float] = []
    ways: list[str] = []
    for index in range(rounds):
        products = [matrix_rate(dtype=dtype)]
        for name, label, run in turns if index % 2 == 0 else reversed(turns):
            rate = run(seconds)
            rates[name][label].append(rate)
            console.print(f"round {index + 1}/{rounds}: {name} ({label}) {rate:,.0f}/s")
        products.append(matrix_rate(dtype=dtype))
        limit, way = max(products)
        limits.append(limit)
        ways.append(way)
        console.print(f"round {index + 1}/{rounds}: products {limit / 1e9:,.0f} GFLOP/s ({way})")
    return rates, limits, ways


def run_rounds(
    title: str,
    contenders: Sequence[Contender],
    *,
    flops: float,
    rounds: int,
    seconds: float,
    dtype: str,
    console: Console,
    **goals: Any,
) -> dict[str, Any]:
    """All rounds of the contenders as a record; their table is printed, with what disturbed it.

    `goals` are those of `outcome`.
    """
    others = OtherLoad()
    rates, limits, ways = measure(contenders, rounds, seconds, dtype, console)
    rows = outcome(contenders, rates, limits, flops, **goals)
    taken = others.cores()
    show(title, rows, console)
    say_other_load(taken, console)
    return {
        "title": title,
        "flops_per_step": flops,
        "matrix_flops_per_second": limits,
        "matrix_product": ways,
        "cores_busy_with_other_processes": taken,
        "results": rows,
        "steps_per_second": rates,
    }


def best_variant(variants: dict[str, list[float]]) -> tuple[str, list[float]]:
    """The variant with the highest median."""
    return max(variants.items(), key=lambda item: statistics.median(item[1]))


def outcome(
    contenders: Sequence[Contender],
    rates: Rates,
    limits: Sequence[float],
    flops: float,
    *,
    share_goal: float | None = None,
    share_aim: float | None = None,
) -> list[dict[str, Any]]:
    """Per contender: its best variant, median and spread, the engine's ratio to it, and its share.

    The engine is the last contender. Ratio and share of the matrix-product rate are medians over
    rounds of what they are within a round, so that a machine that is slower for a while slows both
    sides of it. `reached` is None where no goal was set; an aim that is missed is no failure.
    """
    _, ours = best_variant(rates[contenders[-1].name])
    rows = []
    for contender in contenders:
        label, values = best_variant(rates[contender.name])
        ratios = [mine / theirs for mine, theirs in zip(ours, values, strict=True)]
        shares = [rate * flops / limit for rate, limit in zip(values, limits, strict=True)]
        ratio, share = statistics.median(ratios), statistics.median(shares)
        is_engine = contender is contenders[-1]
        wanted = share_goal if is_engine else contender.goal
        reached = None if wanted is None else (share if is_engine else ratio) >= wanted
        rows.append(
            {
                "contender": contender.name,
                "variant": label,
                "median": statistics.median(values),
                "low": min(values),
                "high": max(values),
                "ratio": ratio,
                "ratio_low": min(ratios),
                "ratio_high": max(ratios),
                "share": share,
                "goal": contender.goal,
                "share_goal": share_goal if is_engine else None,
                "share_aim": share_aim if is_engine else None,
                "reached": reached,
            }
        )
    return rows


def show(title: str, rows: Sequence[dict[str, Any]], console: Console) -> None:
    """The rows as a table."""
    table = Table(title=f"{title}: training steps of one network per second")
    for heading in ("contender", "setting", "steps/s", "range", "share", "engine is", "goal", ""):
        words = heading in {"contender", "setting"}
        table.add_column(heading, justify="left" if words else "right")
    for row in rows:
        goal = "" if row["goal"] is None else f"{row['goal']:g}x"
        for key, word in (("share_goal", ""), ("share_aim", "aim ")):
            if row[key] is not None:
                goal = f"{word}{row[key]:.0%}"
        table.add_row(
            row["contender"],
            row["variant"],
            f"{row['median']:,.0f}",
            f"{row['low']:,.0f} to {row['high']:,.0f}",
            f"{row['share']:.1%}",
            f"{row['ratio']:.1f}x",
            goal,
            {None: "", True: "reached", False: "missed"}[row["reached"]],
        )
    console.print(table)


def say_other_load(cores: float | None, console: Console) -> None:
    """A warning where other processes took so much that the numbers are suspect."""
    if cores is not None and cores > 0.1:
        console.print(f"Others kept {cores:.2f} cores busy: measure again on a quiet machine")


def write_record(kind: str, record: dict[str, Any], folder: Path) -> Path:
    """`<kind>-<UTC time>.json`, with the time as `date` in it."""
    now = dt.datetime.now(dt.UTC)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{kind}-{now:%Y%m%dT%H%M%SZ}.json"
    record = {"date": now.isoformat(timespec="seconds"), **record}
    file.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return file
