"""YAML text as plain values, with errors that name the place.

What YAML 1.1 and 1.2 read differently is read as version 1.2 does where one reading is what people
mean (`1e-3` is a number, `1:30` and `2024-01-31` are texts), and refused where both are (`010`,
`yes`). Keys are texts as they are written, since the config is stored as JSON.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from initopt_jax.errors import ConfigError, nearest

MERGE = "tag:yaml.org,2002:merge"
NUMBERS = list("-+0123456789.")
TWO_READINGS = re.compile(r"yes|no|on|off", re.IGNORECASE)
OCTAL = re.compile(r"[-+]?0[0-9_]+")
UNWRITABLE = re.compile("[\x00\ud800-\udfff]")  # NUL, and halves of characters
PLAIN = ("bool", "float", "int", "map", "null", "seq", "str")  # what JSON has
# Far beyond what anybody writes, and read in a second or two.
TEXT, NODES, DEPTH = 2**20, 50_000, 64  # bytes, values with those that aliases copy, levels
DIGITS = 300  # of a whole number: as many as a float64 holds
PATTERNS = {
    "bool": r"true|True|TRUE|false|False|FALSE|(?i:yes|no|on|off)",
    "int": r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F][0-9a-fA-F_]*|0b[01]+|0o[0-7]+",
    "float": (
        r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
    ),
    "null": r"~|null|Null|NULL|",
}
FIRST = {"bool": list("tTfFyYnNoO"), "int": NUMBERS, "float": NUMBERS}
KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "null": "null"}


class _Loader(yaml.SafeLoader):
    """YAML as people mean it."""

    yaml_implicit_resolvers = {  # noqa: RUF012, as the base class has it
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if tag.rpartition(":")[2] not in ("bool", "float", "int", "timestamp", "value")
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: make
        for tag, make in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in PLAIN
    }

    def __init__(self, text: str):
        super().__init__(text)
        self.nodes = self.levels = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """An anchor may be set again, as YAML allows; an alias without one is told what it is."""
        event: Any = self.peek_event()
        self.nodes += 1
        if self.nodes > NODES:
            raise _too_many(event)
        if self.levels > DEPTH:
            raise _too_deep(event)
        name = getattr(event, "anchor", None) or ""
        if isinstance(event, yaml.AliasEvent) and name not in self.anchors:
            close = nearest(name, self.anchors)
            hint = f"; did you mean *{close}?" if close else "."
            raise yaml.MarkedYAMLError(
                problem=f"*{name} stands for what an anchor &{name} names, and there is none{hint} "
                f"A text that begins with * is written in quotes: '*{name}'",
                problem_mark=event.start_mark,
            )
        if name in self.anchors and not isinstance(event, yaml.AliasEvent):
            del self.anchors[name]
        self.levels += 1
        node = super().compose_node(parent, index)
        self.levels -= 1
        return node


for _tag, _first in FIRST.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{PATTERNS[_tag]})$"), _first
    )


def _refuse(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


def _too_many(place: Any) -> yaml.MarkedYAMLError:
    return _refuse(f"it holds more than {NODES:,} values, with those that aliases repeat", place)


def _too_deep(place: Any) -> yaml.MarkedYAMLError:
    return _refuse(f"it is nested more than {DEPTH} levels deep", place)


def _expanded(node: yaml.Node, known: dict[yaml.Node, int], outer: tuple[yaml.Node, ...]) -> int:
    """How many values a node stands for once each alias is a copy.

    Args:
        node: to count. Its depth with aliases followed is held to the limit as well.
        known: what was counted before.
        outer: the nodes that it lies in.
    """
    if node in outer:
        raise _refuse("an alias stands for something that holds it", node)
    if len(outer) > DEPTH:
        raise _too_deep(node)
    if node not in known:
        parts = [] if isinstance(node, yaml.ScalarNode) else node.value
        if isinstance(node, yaml.MappingNode):
            parts = [part for pair in parts for part in pair]
        known[node] = 1 + sum(_expanded(part, known, (*outer, node)) for part in parts)
        if known[node] > NODES:
            raise _too_many(node)
    return known[node]


def _scalar(kind: str, node: yaml.Node) -> str:
    """The text of a scalar, which a tag such as !!int may call what it is not."""
    if not isinstance(node, yaml.ScalarNode) or not re.fullmatch(PATTERNS[kind], node.value):
        given = repr(node.value) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        raise _refuse(f"{shorten(given)} is tagged !!{kind} and is not {KINDS[kind]}", node)
    return node.value


def _bool(loader: _Loader, node: yaml.Node) -> bool:
    word = _scalar("bool", node)
    if TWO_READINGS.fullmatch(word):
        truth = "true" if word.lower() in ("yes", "on") else "false"
        raise _refuse(
            f"{word} is {truth} to some readers of YAML and a text to others; write {truth}, or "
            f"'{word}' in quotes",
            node,
        )
    return word.lower() == "true"


def _int(loader: _Loader, node: yaml.Node) -> int:
    text = _scalar("int", node)
    digits = text.replace("_", "")
    if len(digits) > DIGITS:
        raise _refuse(
            f"{shorten(text)} has {len(digits):,} digits; a whole number has at most {DIGITS}, and "
            "a text is written in quotes",
            node,
        )
    if OCTAL.fullmatch(text):
        raise _refuse(
            f"{text} begins with 0, which makes it octal to some readers of YAML; write "
            f"{int(digits)} for the number, or '{text}' in quotes for the text",
            node,
        )
    return int(digits, 0)


def _float(loader: _Loader, node: yaml.Node) -> float:
    whole = re.fullmatch(PATTERNS["int"], str(node.value))  # !!float 3
    text = node.value if whole else _scalar("float", node)
    word = text.replace("_", "").lower()
    if word.endswith((".inf", ".nan")):
        return float(word.replace(".", ""))
    if math.isinf(number := float(word)):
        raise _refuse(f"{shorten(text)} is larger than any number that is computed with", node)
    return number


def _null(loader: _Loader, node: yaml.Node) -> None:
    _scalar("null", node)


def _str(loader: _Loader, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _refuse("a text is asked for here", node)
    return _readable(node)


def _readable(node: yaml.ScalarNode) -> str:
    """The text of a node, unless no file could hold it."""
    if bad := UNWRITABLE.search(node.value):
        raise _refuse(f"a text may not hold the character {bad[0]!a}", node)
    return node.value


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _refuse("a mapping is asked for here", node)
    return {key: loader.construct_object(value, deep=True) for key, value in _pairs(node).items()}


def _pairs(node: yaml.MappingNode) -> dict[str, yaml.Node]:
    """Keys with the nodes of their values; those merged in first, as the mapping's own win."""
    merged: dict[str, yaml.Node] = {}
    own: dict[str, yaml.Node] = {}
    merges = [pair for pair in node.value if pair[0].tag == MERGE]
    if len(merges) > 1:
        raise _refuse("<< is given twice; one with a list merges several: [*a, *b]", merges[1][0])
    for _, value in merges:
        for other in reversed(_merged(value)):
            merged |= _pairs(other)
    for key, value in node.value:
        if key.tag == MERGE:
            continue
        if not isinstance(key, yaml.ScalarNode):
            raise _refuse("a key must be a text, not a list or a mapping", key)
        if key.value in own:
            raise _refuse(f"the key {key.value!r} is given twice", key)
        own[_readable(key)] = value
    return {**merged, **own}


def _merged(value: yaml.Node) -> list[yaml.MappingNode]:
    """What `<<` merges in: a mapping, or several, of which the earlier win."""
    several = value.value if isinstance(value, yaml.SequenceNode) else [value]
    mappings = [item for item in several if isinstance(item, yaml.MappingNode)]
    if len(mappings) < len(several):
        raise _refuse("<< merges a mapping or a list of mappings, such as *base", value)
    return mappings


for _tag, _make in (
    ("bool", _bool), ("int", _int), ("float", _float), ("null", _null), ("str", _str),
    ("map", _mapping),
):  # fmt: skip
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _make)


def parse_yaml(text: str, source: str = "config") -> Any:
    r"""YAML text as plain values, which share nothing: an alias is a copy.

    Raises:
        ConfigError: it is no YAML, or can be read in two ways; with line and column.

    >>> parse_yaml("base: &b {steps: 5, seeds: 2}\nmine: {<<: *b, steps: 9}")["mine"]
    {'steps': 9, 'seeds': 2}
    """
    if len(text) > TEXT:
        raise ConfigError(f"{source} is too long for a config: {TEXT:,} characters are the most")
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _expanded(node, {}, ())
            return unshared(loader.construct_object(node, deep=True))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{source} is not valid YAML{place}: {_in_words(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise ConfigError(
            f"{source} is not valid YAML at line {line}: it holds the character "
            f"{chr(int(error.character))!a}, which YAML does not allow"
        ) from None
    except (yaml.YAMLError, ValueError) as error:  # such as "\U00110000", which is no character
        raise ConfigError(f"{source} is not valid YAML: {error}") from None


def _in_words(error: yaml.MarkedYAMLError) -> str:
    """What is wrong, with what to write for the usual slips."""
    problem = str(error.problem)
    for slip, advice in (
        (r"'\t'", "; indent with spaces, not with tabs"),
        ("mapping values are not allowed", "; a text that holds ': ' is written in quotes"),
        ("could not find expected ':'", "; a key is followed by a colon and a space"),
        ("could not determine a constructor", "; a text that begins with ! is written in quotes"),
        ("but found another document", ", begun by ---; a config is one"),
        ("cannot start any token", "; a text that begins with it is written in quotes"),
    ):
        if slip in problem:
            return problem + advice
    if error.context == "while scanning an alias":
        return f"{problem}; a text that begins with * is written in quotes, such as '*kernel'"
    return problem


def shorten(text: str, most: int = 60) -> str:
    """A text whose end is left out where it is long.

    >>> shorten("9" * 5000, most=12)
    '999999999999 ...'
    """
    return text if len(text) <= most else f"{text[:most]} ..."


def unshared(value: Any, level: int = 0) -> Any:
    """Plain values without parts in common: what changes one place changes no other.

    Args:
        value: a mapping, a list or anything else.
        level: how deep it lies.

    Raises:
        ConfigError: it is nested too deeply, or holds itself.

    >>> part = [1]
    >>> copy = unshared({"a": part, "b": part})
    >>> copy["a"] is copy["b"]
    False
    """
    if level > DEPTH:
        raise ConfigError(f"the config is nested more than {DEPTH} levels deep, or holds itself")
    if isinstance(value, Mapping):
        return {key: unshared(item, level + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [unshared(item, level + 1) for item in value]
    return value
