"""The page of `experiments.classics`: places, profiles, pictures and sentences."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jinja2
import numpy as np
import numpy.typing as npt
from PIL import Image
from plotly.offline import get_plotlyjs

from initopt_jax.reports.charts.function_maps import share_text
from initopt_jax.reports.charts.numbers import count, listed
from initopt_jax.reports.charts.profile import profile_chart
from initopt_jax.reports.page.html import script_json
from initopt_jax.reports.render.plotly_charts import figure
from initopt_jax.stats import (
    beats,
    performance_profile,
    performance_ratios,
    places,
    wilson_interval,
)

NEAR = 2.0  # an optimizer within this factor of the fastest did well on a problem
MOST_LISTED = 4
THUMBNAIL, THUMBNAIL_COLORS = 620, 96  # pixels across; colours

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Entrant:
    """One function's study; `times` [starts, optimizers] are NaN where the target was missed."""

    function: str
    formula: str
    target: str
    labels: tuple[str, ...]
    settings: tuple[str, ...]
    times: Floats
    picture: bytes
    link: str


@dataclass(frozen=True)
class Field:
    """All studies, with the places of the optimizers in each and over all of their problems."""

    studies: tuple[Entrant, ...]

    @classmethod
    def of(cls, studies: Sequence[Entrant]) -> "Field":
        """Gather studies of the same optimizers.

        Raises:
            ValueError: they differ in their optimizers.
        """
        if len({study.labels for study in studies}) != 1:
            raise ValueError("studies must be of the same optimizers, in the same order")
        return cls(tuple(studies))

    @property
    def labels(self) -> tuple[str, ...]:
        """The optimizers."""
        return self.studies[0].labels

    @property
    def functions(self) -> list[str]:
        """The functions."""
        return [study.function for study in self.studies]

    @cached_property
    def times(self) -> Floats:
        """[P, S] steps over all functions and starts."""
        return np.concatenate([study.times for study in self.studies])

    @cached_property
    def places(self) -> list[Integers]:
        """The places within each function."""
        return [places(beats(study.times)) for study in self.studies]

    @cached_property
    def beaten(self) -> npt.NDArray[np.bool_]:
        """[S, S] who is faster than whom over all problems."""
        return beats(self.times)

    @cached_property
    def overall(self) -> Integers:
        """The places over all problems."""
        return places(self.beaten)

    @cached_property
    def solved(self) -> Floats:
        """The share of all problems that each optimizer solved."""
        return np.isfinite(self.times).mean(axis=0)

    @cached_property
    def within(self) -> Floats:
        """The share of all problems solved within `NEAR` times the steps of the fastest."""
        return performance_profile(performance_ratios(self.times), [NEAR])[0]

    @cached_property
    def order(self) -> list[int]:
        """The optimizers by place, those of one place by the share solved near the fastest."""
        rank = zip(self.overall, -self.within, range(len(self.labels)), strict=True)
        return [row for *_, row in sorted(rank)]


def place_text(found: Integers, row: int) -> str:
    """A place; `=` where it is shared.

    >>> place_text(np.array([1, 2, 2]), 0), place_text(np.array([1, 2, 2]), 2)
    ('1', '2=')
    """
    return f"{found[row]}{'=' if (found == found[row]).sum() > 1 else ''}"


def sentences(field: Field, own: Sequence[str]) -> list[str]:
    """Where each of one's own transforms stands; who leads, where there is none."""
    rows = [field.labels.index(label) for label in own] or field.order[:1]
    return [_sentence(field, row) for row in rows]


def _sentence(field: Field, row: int) -> str:
    label, total = field.labels[row], len(field.times)
    solved = int(np.isfinite(field.times[:, row]).sum())
    low, high = (float(bound) for bound in wilson_interval(solved, total))
    text = (
        f"{label} takes place {place_text(field.overall, row)} of {len(field.labels)} over "
        f"{total:,} problems: it solved {share_text(solved / total)} of them (95% interval "
        f"{100 * low:.0f}% to {100 * high:.0f}%), and {share_text(float(field.within[row]))} "
        f"within {NEAR:g} times the steps of the fastest."
    )
    others = [other for other in field.order if other != row]
    groups = (
        ("faster than", [o for o in others if field.beaten[row, o]]),
        ("slower than", [o for o in others if field.beaten[o, row]]),
    )
    parts = [
        f"{what} {listed([field.labels[o] for o in found])}" for what, found in groups if found
    ]
    level = [field.labels[o] for o in others if not field.beaten[row, o] | field.beaten[o, row]]
    if parts:
        text += f" Problem by problem it is, more often than chance explains, {'; '.join(parts)}."
    if level:
        text += f" It cannot be told apart from {listed(level)}."
    return text + _best_and_worst(field, row)


def _best_and_worst(field: Field, row: int) -> str:
    if len(field.studies) < 2 or len(field.labels) < 2:
        return ""
    own = [int(found[row]) for found in field.places]
    if min(own) == max(own):
        return f" Its place is {own[0]} on every function."
    ends = []
    for what, place in (("best", min(own)), ("worst", max(own))):
        names = [name for name, at in zip(field.functions, own, strict=True) if at == place]
        many = len(names) > MOST_LISTED
        where = f"{len(names)} of {len(own)} functions" if many else listed(names)
        ends.append(f"{what} place: {place}, on {where}")
    return f" Its {'; its '.join(ends)}."


def thumbnail(picture: bytes) -> str:
    """A small copy of a picture as a data address."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    height = round(image.height * THUMBNAIL / image.width)
    small = image.resize((THUMBNAIL, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.quantize(THUMBNAIL_COLORS).save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def cell(study: Entrant, row: int) -> str:
    """Share solved and median steps of one optimizer on one function."""
    times = study.times[:, row]
    known = np.where(np.isfinite(times), times, np.inf)
    median = float(np.quantile(known, 0.5, method="inverted_cdf"))
    steps = count(median) if np.isfinite(median) else "–"
    return f"{share_text(float(np.isfinite(times).mean()))} · {steps}"


def page(field: Field, own: Sequence[str], steps: int) -> bytes:
    """One self-contained HTML page.

    Args:
        field: all studies.
        own: labels of one's own transforms.
        steps: that each run was given.

    Returns:
        UTF-8 HTML; links lead to the reports beside it.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    chart = profile_chart(field.labels, field.times, "function and start")
    rows = [
        {
            "label": field.labels[row],
            "own": field.labels[row] in own,
            "cells": [
                (place_text(found, row), int(found[row]), cell(study, row), study.settings[row])
                for found, study in zip(field.places, field.studies, strict=True)
            ],
            "all": place_text(field.overall, row),
            "solved": share_text(float(field.solved[row])),
            "within": share_text(float(field.within[row])),
        }
        for row in field.order
    ]
    text = environment.get_template("classics.html.jinja").render(
        studies=field.studies,
        thumbnails=[thumbnail(study.picture) for study in field.studies],
        rows=rows,
        sentences=sentences(field, own),
        chart=chart,
        figure=script_json(figure(chart)) if chart else "null",
        plotly=get_plotlyjs() if chart else "",
        starts=len(field.studies[0].times),
        steps=steps,
        near=f"{NEAR:g}",
    )
    return text.encode("utf-8")
