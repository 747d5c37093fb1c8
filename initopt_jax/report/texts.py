"""Texts that users choose, such as labels: what is shown for them, and one form per renderer.

A label may hold anything: dollar signs, tags, brackets, bars, line breaks. `shown_names` makes one
line of it, and each renderer gets its text through the one function that is named after it. HTML is
escaped by Jinja, CSV by `csv_table.csv_text`, and the console takes no markup.
"""

import dataclasses
import html
import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

MOST = 40  # letters of a name
NAMELESS = "(no name)"
# Control characters, halves of surrogate pairs, separators of lines and paragraphs, and marks that
# turn the direction of what follows: they would change how the texts around them look.
HIDDEN = {"Cc", "Cs", "Zl", "Zp"}
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def one_line(text: str) -> str:
    r"""A text on one line: characters that are not seen, but act, are written as their escapes.

    >>> one_line("a\nb"), one_line("\x1b[31mred")
    ('a\\nb', '\\x1b[31mred')
    """
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in HIDDEN or unicodedata.bidirectional(char) in TURNING
        else char
        for char in text
    )


def shown_names(names: Iterable[str], most: int = MOST) -> dict[str, str]:
    """What is shown for each name: one line of at most about `most` letters, different for each.

    Args:
        names: any texts.
        most: letters; of a longer name the middle is left out.

    Returns:
        Name to text, in order. Texts that would be the same are numbered.

    >>> shown_names(["adam", "a" * 60 + "x", "a" * 60 + "y"], most=10)["adam"]
    'adam'
    >>> list(shown_names(["a" * 60 + "x", "a" * 61 + "x"], most=10).values())
    ['aaaaaa…aax', 'aaaaaa…aax #2']
    """
    shown: dict[str, str] = {}
    for name in dict.fromkeys(names):
        line = one_line(name) if name.strip() else NAMELESS
        tail = most * 3 // 10
        short = line if len(line) <= most else f"{line[: most - tail - 1]}…{line[-tail:]}"
        text, number = short, 1
        while text in shown.values():
            number += 1
            text = f"{short} #{number}"
        shown[name] = text
    return shown


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
