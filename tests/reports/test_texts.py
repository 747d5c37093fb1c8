"""Texts that users choose reach every renderer as they are, whatever they hold."""

import ast
import html
import io
import json
import re
import unicodedata
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from initopt_jax import reports
from initopt_jax.cli import show
from initopt_jax.reports.charts.texts import (
    looks_of,
    markdown_text,
    matplotlib_text,
    on_lines,
    one_line,
    plotly_text,
    renamed,
    shown_names,
)
from initopt_jax.reports.page.tables import Table, TableCell, crossed
from initopt_jax.store.csv_table import csv_text

HOSTILE = [
    "$", "$$", "a $x$ b", r"\frac{", r"$\frac{$", r"\$", "<script>alert(1)</script>", "<b>bold</b>",
    "[/red]", "[bold]g[/bold]", "[g^2]", ":smile:", "100%", "%{x}", "%(name)s", "a|b", "_hidden",
    "__x__", "*a*", "`code`", "a&lt;b", "a & b", "line\nbreak", "tab\tand\x1b[31m", "x" * 3000,
    "\U0001f9e0 \U0001f600", "שלום", "مرحبا", "中文", "\u202eturned", "NA", "1", "2020-01-01",
    "\ud800 half", "a\u200bb", "\ufeffa", "e\u0301", "=SUM(A1)", "@x", "\r=1", "x\0", "\u3164",
    "../../etc", 'quote "x"', "it's", "#", "!", "{{ 7*7 }}", "{% raw %}", " ",
]  # fmt: skip
ANY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


def each(test):
    """A property of any text, and of every hostile one."""
    for text in HOSTILE:
        test = example(text)(test)
    return settings(max_examples=60, deadline=None)(test)


def pixels(text: str, *, parse: bool) -> np.ndarray:
    figure = Figure(figsize=(3, 0.5), dpi=50)
    figure.text(0, 0.5, text, parse_math=parse)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


@each
@given(ANY)
def test_a_shown_name_is_one_short_line_without_hidden_characters(text):
    (shown,) = shown_names([text]).values()
    assert 0 < len(shown) <= 40
    assert shown.splitlines() == [shown]
    assert shown.isprintable() or one_line(shown) == shown


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY | st.sampled_from(HOSTILE), max_size=6, unique=True))
def test_names_that_differ_are_shown_differently(names):
    shown = shown_names(names, most=8)
    assert list(shown) == names
    assert len(set(shown.values())) == len(names)


@settings(max_examples=20, deadline=None)
@example("a $x$ b")
@example(r"\$ and \frac{$")
@given(ANY)
def test_figures_show_a_text_and_no_formula(text):
    known = "".join(char for char in one_line(text) if matplotlib_text(char)[:2] != "U+")
    np.testing.assert_array_equal(
        pixels(matplotlib_text(known), parse=True), pixels(known, parse=False)
    )


@each
@given(ANY)
def test_plotly_sees_no_tag_no_entity_and_no_field(text):
    given_to = plotly_text(text)
    assert html.unescape(given_to) == html.unescape(html.escape(text, quote=False))
    assert not re.search(r"[<>]|%\{", given_to)


@each
@given(ANY)
def test_a_markdown_table_shows_a_label_as_it_is(text):
    label = one_line(text)
    if not label.strip():
        return
    rows = [[TableCell(part, 0.0) for part in (text, "sgd", "as given", "1%")]]
    made = crossed(Table(["initializer", "optimizer", "setting", "accuracy"], rows))
    page = MarkdownIt().enable("table").render(made)
    cells = re.findall(r"(?s)<t[dh]>(.*?)</t[dh]>", page)
    assert html.unescape(cells[2]) == label.strip()
    assert len(cells) == 4


ALIKE = [
    ["caf\u00e9", "cafe\u0301"], ["adam", "ad\u0430m"], ["a", "a ", " a", "a\u00a0"],
    ["a b", "a  b"], ["", " ", "\u3164", "\u2800"], ["x", "x\ufe0f", "x\u034f"],
    ["OPT", "\u039fPT", "\u041ePT"],
    ["\u00b5P", "\u03bcP"], ["a\r", "a\\r"], ["adam", "adam ", "adam #2"],
    ["m" * 99 + "ab" + "m" * 99, "m" * 99 + "cd" + "m" * 99],
]  # fmt: skip


@pytest.mark.parametrize("names", ALIKE)
def test_names_that_look_alike_are_numbered_and_spelled(names):
    shown = shown_names(names)
    assert len(set(map(looks_of, shown.values()))) == len(names)
    told = dict(renamed(shown))
    for name, text in shown.items():
        if " #" in text and not name.endswith("#2"):
            assert ast.literal_eval(told[text]) == name if told[text][0] == "'" else told[text]
    assert len(set(told.values())) == len(told)


@each
@given(ANY | st.text(st.characters(categories=["Cs", "Cf", "Cc"]), max_size=5))
def test_a_terminal_gets_no_steering_characters(text):
    printed = on_lines(text)
    printed.encode()
    kept = {"\u200c", "\u200d", "\n"}
    assert not [c for c in printed if unicodedata.category(c)[0] == "C" and c not in kept
                and unicodedata.category(c) not in ("Cn", "Co")]  # fmt: skip


@each
@given(ANY)
def test_the_console_shows_a_text_as_it_is(text):
    """No markup, no emoji, no control characters; whatever is no text of ours passes by here."""
    file = io.StringIO()
    show._Plain(file=file, width=10_000).print(text, highlight=False, soft_wrap=True)
    assert file.getvalue().rstrip("\n").split() == on_lines(text).split()


def test_words_with_underscores_need_no_escape():
    assert markdown_text("he_normal(stddev=0.01)") == "he_normal(stddev=0.01)"


def test_the_console_prints_brackets_as_brackets(capsys):
    show.catalogue("transforms")
    printed = capsys.readouterr().out
    assert "[g^2]" in re.sub(r"\s+", "", printed)


@pytest.fixture(scope="module")
def hostile_report(make_study):
    """A report of a study in which every name is hostile: rows of one label, columns of another."""
    dataset, lanes, info = make_study(4, 4, 1, 2, 0, evals=3)
    chosen = [
        ["$", "$$", r"\frac{ $a$", "a|b"],
        ["<script>alert(1)</script>", "", "[/red]", "=NA()"],
    ]
    for name, labels in zip(("initializer", "optimizer"), chosen, strict=True):
        lanes[name] = lanes[name].map(dict(zip(lanes[name].unique(), labels, strict=True)))
    leaves = np.array([f"<i>$leaf {i}|\n" for i in range(dataset.sizes["leaf"])])
    dataset = dataset.assign_coords(leaf=leaves)
    info = type(info)(**{**vars(info), "name": "$x$ <b>", "dataset": "a\n$b$", "model": "m:<i>"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return reports.build(dataset, lanes, info), lanes


def test_hostile_names_reach_every_figure_and_the_page(hostile_report):
    files, _ = hostile_report
    assert {"figures/heatmap.png", "figures/weight_norms.pdf"} <= set(files)
    page = files["report.html"].decode()
    visible = re.sub(r"(?s)<script>.*?</script>|<style>.*?</style>|<[^>]+>", " ", page)
    for label in ("$$", r"\frac{ $a$", "a|b", "[/red]", "<script>alert(1)</script>", "$x$ <b>"):
        assert label in html.unescape(visible)
    assert "<script>alert" not in page
    figures = json.loads(page.rpartition("const figures = ")[2].partition(";\nfor")[0])
    shown = figures["heatmap"]["layout"]["xaxis"]["ticktext"]
    assert [html.unescape(label) for label in shown] == [
        "<script>alert(1)</script>", "(no name)", "[/red]", "=NA()",
    ]  # fmt: skip
    assert "<script>" not in "".join(shown)


def test_the_summary_has_labels_as_they_were_given(hostile_report):
    files, lanes = hostile_report
    frame = pd.read_csv(io.BytesIO(files["summary.csv"]), keep_default_na=False)
    assert set(frame["initializer"]) == {csv_text(label) for label in lanes["initializer"]}
    assert set(frame["optimizer"]) == {csv_text(label) for label in lanes["optimizer"]}


def test_a_figure_keeps_its_size_whatever_a_leaf_a_model_or_a_data_set_is_called(make_study):
    dataset, lanes, info = make_study(2, 2, 1, 2, 0, evals=3)
    long = "x" * 300
    leaves = [f"{long}{i}/kernel" for i in range(dataset.sizes["leaf"])]
    dataset = dataset.assign_coords(leaf=leaves)
    named = {"name": long, "dataset": f"folder:{long}", "model": f"mine:{long} 5-5", "task": long}
    files = reports.build(dataset, lanes, type(info)(**{**vars(info), **named}))
    for name, content in files.items():
        if name.endswith(".png"):
            assert int.from_bytes(content[16:20]) < 4000, name
    page = files["report.html"].decode()
    assert f"folder:{long}" in page
    assert f"mine:{long}" in page


@pytest.mark.parametrize("label", ["x" * 3000, "\U0001f9e0", "שלום\n", "100% [g^2]"])
def test_a_figure_keeps_its_size_whatever_a_label(make_study, label):
    dataset, lanes, info = make_study(2, 2, 1, 2, 0, evals=3, probe=False)
    first = lanes["optimizer"].iloc[0]
    lanes["optimizer"] = lanes["optimizer"].replace(first, label)
    files = reports.build(dataset, lanes, info)
    width = int.from_bytes(files["figures/heatmap.png"][16:20])
    assert width < 4000
    if len(label) > 1000:
        assert label in files["report.html"].decode()  # told whole, once
