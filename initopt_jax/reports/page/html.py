"""The HTML report: one file that opens without a network, with interactive figures."""

import base64
import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple, get_args

import jinja2
import numpy as np
from PIL import Image
from plotly.offline import get_plotlyjs

from initopt_jax.reports.charts import captions
from initopt_jax.reports.charts.captioned import Captioned, Section
from initopt_jax.reports.charts.function_maps import basin_sentence, speed_sentences
from initopt_jax.reports.charts.results import Results
from initopt_jax.reports.charts.surface import make_surface
from initopt_jax.reports.charts.texts import renamed
from initopt_jax.reports.charts.trajectories import all_starts, make_trajectories
from initopt_jax.reports.page.tables import Table, best_table
from initopt_jax.reports.render.figure_layout import PNG_DPI
from initopt_jax.reports.render.plotly_charts import figure
from initopt_jax.tasks.function_task import TestFunction

SCREEN_DPI = 104  # so that letters in pictures are about as large as those of the page
UNKNOWN_VALUES = (
    "The values of this test function are not stored in the folder of the study (or are damaged), "
    "so the maps have no contours: reading results runs no code. To store them, run the study "
    "again on its folder: initopt run CONFIG --out FOLDER."
)


class Picture(NamedTuple):
    """A drawn figure, to stand in the page itself: its address and its width on the screen."""

    address: str
    width: int


def picture(content: bytes) -> Picture:
    """A PNG or GIF as a data address."""
    image = Image.open(io.BytesIO(content))
    kind = (image.format or "").lower()
    address = f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return Picture(address, round(image.width * SCREEN_DPI / PNG_DPI))


def render(results: Results, shown: list[Captioned], drawn: Mapping[str, bytes]) -> bytes:
    """Fill the template.

    Args:
        results: of the study.
        shown: the figures, in order.
        drawn: PNG or GIF of those that stand in the page as pictures, by name.

    Returns:
        UTF-8 HTML; plotly.js is inside.
    """
    charts: dict[str, Any] = {item.name: item.chart for item in shown if item.name not in drawn}
    figures = {name: figure(chart) for name, chart in charts.items()}
    return fill_page(
        "report.html.jinja",
        figures,
        info=results.info,
        scale=captions.scale_sentence(results),
        findings=findings(results),
        groups=groups(results),
        table=best_table(results.best, results.lanes, results.info),
        cells=cell_table(results),
        shown={
            section: [item for item in shown if item.section == section]
            for section in get_args(Section)
        },
        renamed=[pair for names in results.names.values() for pair in renamed(names)],
        pictures={name: picture(content) for name, content in drawn.items()},
        chosen_on=sorted(set(results.best["chosen_on"])),
        selection=results.info.readable(results.info.selection),
    )


def fill_page(template: str, figures: Mapping[str, Any], **values: Any) -> bytes:
    """A page that opens without a network: UTF-8 HTML with plotly.js inside.

    Args:
        template: its file in this folder.
        figures: by name, as Plotly takes them.
        values: of the template.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("initopt_jax", "reports/page"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    text = environment.get_template(template).render(
        figures=script_json(figures), plotly=get_plotlyjs(), **values
    )
    # Half a surrogate pair, which JSON and YAML may hold, has no place in UTF-8.
    return text.encode("utf-8", "backslashreplace")


def script_json(value: Any) -> str:
    r"""JSON that cannot end the script element it stands in.

    >>> script_json({"a": "</script>"})
    '{"a":"\\u003c/script>"}'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c")


def findings(results: Results) -> list[str]:
    """The few sentences at the head."""
    if results.info.test_function is not None and "point" in results.dataset:
        found = function_findings(results, results.info.test_function)
        return found + [text for text in [captions.edge_sentence(results)] if text]
    found = [captions.best_sentence(results), *captions.constant_sentences(results)]
    found += captions.speed_sentences(results)
    found += captions.divergence_sentences(results)[:1]
    return found + [text for text in [captions.edge_sentence(results)] if text]


def groups(results: Results) -> list[tuple[str, list[str]]]:
    """Lists of sentences under their headings."""
    made = [("The best optimizer for each initializer", captions.comparison_sentences(results))]
    # A single way to start a test function has no rival to be told of.
    if not results.info.is_function or len(results.initializers) > 1:
        sentences = captions.comparison_sentences(results, by="optimizer")
        made.append(("The best initializer for each optimizer", sentences))
    diverged = captions.divergence_sentences(results)
    if len(diverged) > 1:
        made.append((f"Where {results.info.lane}s diverged", diverged[1:]))
    return made


def cell_table(results: Results) -> Table:
    """Every cell, in the form of the table of tuned cells."""
    every = results.summary.reset_index().assign(at_edge=False)
    return best_table(every, results.lanes, results.info)


def function_findings(results: Results, test_function: TestFunction) -> list[str]:
    """What a study on a test function of two variables has to say first."""
    trajectories, target = make_trajectories(results), results.info.target
    surface = make_surface(test_function, all_starts(trajectories))
    found = speed_sentences(trajectories, results.info.target_text) if target else []
    if np.isnan(surface.values).all():
        found.append(UNKNOWN_VALUES)
    return [*found, basin_sentence(trajectories, surface)]
