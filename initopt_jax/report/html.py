"""The HTML report: one file that opens without a network, with interactive figures."""

import json
from typing import Any, NamedTuple

import jinja2
from plotly.offline import get_plotlyjs

from initopt_jax.report import words
from initopt_jax.report.charts import Chart
from initopt_jax.report.interactive import figure
from initopt_jax.report.prepare import Results
from initopt_jax.report.tables import Table, best_table


class Shown(NamedTuple):
    """A figure of the report: its file name, its chart and what it shows in one sentence."""

    name: str
    chart: Chart
    caption: str


def render(results: Results, shown: list[Shown]) -> bytes:
    """Fill the template.

    Args:
        results: of the study.
        shown: the figures, in order.

    Returns:
        UTF-8 HTML; plotly.js is inside.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("initopt_jax", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    figures = {item.name: figure(item.chart) for item in shown}
    text = environment.get_template("report.html.jinja").render(
        info=results.info,
        scale=words.scale_sentence(results),
        findings=findings(results),
        groups=groups(results),
        table=best_table(results.best, results.lanes, results.info),
        cells=cell_table(results),
        shown=shown,
        figures=script_json(figures),
        plotly=get_plotlyjs(),
        tuned=bool((results.lanes["role"] == "tuning").any()),
        selection=results.info.readable(results.info.selection),
    )
    return text.encode("utf-8")


def script_json(value: Any) -> str:
    r"""JSON that cannot end the script element it stands in.

    >>> script_json({"a": "</script>"})
    '{"a":"\\u003c/script>"}'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c")


def findings(results: Results) -> list[str]:
    """The few sentences at the head."""
    found = [words.best_sentence(results), *words.constant_sentences(results)]
    found += words.speed_sentences(results)
    found += words.divergence_sentences(results)[:1]
    return found + [text for text in [words.edge_sentence(results)] if text]


def groups(results: Results) -> list[tuple[str, list[str]]]:
    """Lists of sentences under their headings."""
    made = [("The best optimizer for each initializer", words.comparison_sentences(results))]
    made.append(
        (
            "The best initializer for each optimizer",
            words.comparison_sentences(results, by="optimizer"),
        )
    )
    diverged = words.divergence_sentences(results)
    if len(diverged) > 1:
        made.append((f"Where {results.info.lane}s diverged", diverged[1:]))
    return made


def cell_table(results: Results) -> Table:
    """Every cell, in the form of the table of tuned cells."""
    every = results.summary.reset_index().assign(at_edge=False)
    return best_table(every, results.lanes, results.info)
