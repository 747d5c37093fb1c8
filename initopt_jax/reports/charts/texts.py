"""Texts that users choose, such as labels: what is shown for them, and one form per renderer.

A label may hold anything: dollar signs, tags, brackets, bars, line breaks. `shown_names` makes one
line of it, and each renderer gets its text through the one function that is named after it. HTML is
escaped by Jinja, CSV by `csv_table.csv_text`, and the console takes no markup.
"""

import dataclasses
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

MOST = 40  # letters of a name
MOST_OF_WORD, MOST_OF_TITLE = 60, 160  # in a figure, whose size follows its texts
NAMELESS = "(no name)"
# Control characters, halves of surrogate pairs, separators of lines and paragraphs, marks without a
# width, and those that turn the direction of what follows: they would change the texts around them.
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
JOINERS = "\u200c\u200d"  # words of Persian and Hindi, and many emoji, need them
# Letters of other scripts that fonts draw as Latin ones, capitals then small ones, and marks that
# are not drawn at all.
LOOKALIKES = str.maketrans(
    "АВЕЅІЈКМНОРСТУХѴԚԜΑΒΕΖΗΙΚΜΝΟΡΤΥΧаеіјорсѕухѵԁһԛԝονµ‐‑",
    "ABESIJKMHOPCTYXVQWABEZHIKMNOPTYXaeijopcsyxvdhqwovμ--",
)
BLANK = dict.fromkeys(map(ord, "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"))
BLANK |= dict.fromkeys([*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *map(ord, JOINERS)])

LONG_WORD = re.compile(rf"\S{{{MOST_OF_WORD + 1},}}")


def one_line(text: str) -> str:
    r"""A text on one line: characters that are not seen, but act, are written as their escapes.

    >>> one_line("a\nb"), one_line("\x1b[31mred")
    ('a\\nb', '\\x1b[31mred')
    """
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in HIDDEN and char not in JOINERS
        else char
        for char in text
    )


def on_lines(text: str) -> str:
    r"""For a terminal: as `one_line`, but lines stay lines.

    >>> on_lines("first\nsecond\x1b[2J")
    'first\nsecond\\x1b[2J'
    """
    return "\n".join(map(one_line, text.split("\n")))


def looks_of(text: str) -> str:
    """The same for texts that look the same in print.

    Accents in one character or two, letters of several scripts, kinds and numbers of spaces, marks
    without a width.

    >>> looks_of("caf\u00e9 ") == looks_of("cafe\u0301"), looks_of("\u0430dam") == looks_of("adam")
    (True, True)
    """
    drawn = unicodedata.normalize("NFC", text.translate(BLANK)).translate(LOOKALIKES)
    return " ".join(drawn.split())


def shortened(text: str, most: int) -> str:
    """A text of at most so many letters, the middle left out.

    >>> shortened("abcdefghijkl", 10)
    'abcdef…jkl'
    """
    tail = most * 3 // 10
    return text if len(text) <= most else f"{text[: most - tail - 1]}…{text[-tail:]}"


def shown_names(names: Iterable[str], most: int = MOST) -> dict[str, str]:
    """What is shown for each name: one line of at most about `most` letters, different for each.

    Args:
        names: any texts.
        most: letters; of a longer name the middle is left out.

    Returns:
        Name to text, in order. Texts that would look the same are numbered.

    >>> shown_names(["adam", "a" * 60 + "x", "a" * 60 + "y"], most=10)["adam"]
    'adam'
    >>> list(shown_names(["a" * 60 + "x", "a" * 61 + "x"], most=10).values())
    ['aaaaaa…aax', 'aaaaaa…aax #2']
    >>> len(set(shown_names(["\u00e9", "e\u0301"]).values()))
    2
    """
    shown: dict[str, str] = {}
    looks: set[str] = set()
    for name in dict.fromkeys(names):
        line = one_line(name) if looks_of(name) else NAMELESS
        short = shortened(line, most)
        text, number = short, 1
        while looks_of(text) in looks:
            number += 1
            text = f"{short} #{number}"
        looks.add(looks_of(text))
        shown[name] = text
    return shown


def renamed(names: Mapping[str, str]) -> list[tuple[str, str]]:
    r"""What is shown for a name, and the name, of those that are not what they look like.

    They are shown otherwise than they are, or look like another; these are spelled with the numbers
    of their letters.

    Args:
        names: name to what is shown, as `shown_names` gives them.

    >>> [name for _, name in renamed(shown_names(["adam", "\u0430dam", "a"]))]
    ["'adam'", "'\\u0430dam'"]
    """
    alike = Counter(map(looks_of, names))
    return [
        (shown, ascii(name) if alike[looks_of(name)] > 1 else one_line(name))
        for name, shown in names.items()
        if shown != one_line(name) or alike[looks_of(name)] > 1
    ]


@cache
def _letters() -> frozenset[int]:
    """The code points that Matplotlib's font has a picture of."""
    from matplotlib.font_manager import findfont, get_font  # slow to load

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def matplotlib_text(text: str) -> str:
    r"""For figures: dollar signs begin no formula; letters that the font lacks stand as numbers.

    >>> matplotlib_text("$a$"), matplotlib_text("\U0001f9e0")
    ('\\$a\\$', 'U+1F9E0')
    """
    known = (
        char if char == "\n" or ord(char) in _letters() else f"U+{ord(char):04X}" for char in text
    )
    return "".join(known).replace("$", r"\$")


def plotly_text(text: str) -> str:
    """For Plotly, which reads a few tags, entities and `%{...}` in every text.

    >>> plotly_text("<b>&amp; %{x}")
    '&lt;b&gt;&amp;amp; %&#123;x}'
    """
    return html.escape(text, quote=False).replace("{", "&#123;")


def markdown_text(text: str) -> str:
    r"""For a cell of a Markdown table; what stands for itself inside a word is left alone.

    >>> markdown_text("a|b"), markdown_text("he_normal"), markdown_text("_x_ <b>")
    ('a\\|b', 'he_normal', '\\_x\\_ \\<b\\>')
    """
    marked = re.sub(r"([\\`*\[\]<>|~$&!#])", r"\\\1", one_line(text))
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", marked)


def in_figure(chart: Any, change: Callable[[str], str]) -> Any:
    """A chart with its texts for a renderer, and of a size that a figure can bear.

    The middle of long words, and of a long title, is left out; sentences stay whole.

    Args:
        chart: with a `title`.
        change: `matplotlib_text` or `plotly_text`.
    """

    def fitting(text: str) -> str:
        return change(LONG_WORD.sub(lambda word: shortened(word[0], MOST_OF_WORD), text))

    title = shortened(chart.title, MOST_OF_TITLE)
    return in_texts(dataclasses.replace(chart, title=title), fitting)


def in_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The same data with every text in it changed: dataclasses, tuples, lists and dictionaries.

    >>> in_texts(("a", ["b", 1.0]), str.upper)
    ('A', ['B', 1.0])
    """
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: in_texts(item, change) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(in_texts(item, change) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(in_texts(item, change) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **in_texts(parts, change))
    return value
