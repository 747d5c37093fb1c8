"""YAML text as plain values, with errors that name the place.

What YAML 1.1 and 1.2 read differently is read as version 1.2 does where one reading is what people
mean (`1e-3` is a number, `1:30` and `2024-01-31` are texts), and refused where both are (`010`,
`yes`). Keys are texts as they are written, since the config is stored as JSON.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from initopt_jax.errors import ConfigError, nearest

MERGE = "tag:yaml.org,2002:merge"
NUMBERS = list("-+0123456789.")
TWO_READINGS = re.compile(r"yes|no|on|off", re.IGNORECASE)
OCTAL = re.compile(r"[-+]?0[0-9_]+")
PLAIN = ("bool", "float", "int", "map", "null", "seq", "str")  # what JSON has


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

    def compose_node(self, parent: Any, index: Any) -> Any:
        """An anchor may be set again, as YAML allows; an alias without one is told what it is."""
        event: Any = self.peek_event()
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
        return super().compose_node(parent, index)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE|(?i:yes|no|on|off)", list("tTfFyYnNoO")),
    ("int", r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F][0-9a-fA-F_]*|0b[01]+|0o[0-7]+", NUMBERS),
    (
        "float",
        (
            r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?"
            r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
        ),
        NUMBERS,
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first
    )


def _refuse(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _bool(loader: _Loader, node: yaml.ScalarNode) -> bool:
    if TWO_READINGS.fullmatch(node.value):
        word = node.value
        truth = "true" if word.lower() in ("yes", "on") else "false"
        raise _refuse(
            f"{word} is {truth} to some readers of YAML and a text to others; write {truth}, or "
            f"'{word}' in quotes",
            node,
        )
    return node.value.lower() == "true"


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    digits = node.value.replace("_", "")
    if OCTAL.fullmatch(node.value):
        raise _refuse(
            f"{node.value} begins with 0, which makes it octal to some readers of YAML; write "
            f"{int(digits)} for the number, or '{node.value}' in quotes for the text",
            node,
        )
    return int(digits, 0)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _refuse("a mapping is asked for here", node)
    return {
        key: loader.construct_object(value, deep=True) for key, value in _pairs(node, ()).items()
    }


def _pairs(node: yaml.MappingNode, outer: tuple[yaml.Node, ...]) -> dict[str, yaml.Node]:
    """Keys with the nodes of their values; those merged in first, as the mapping's own win.

    Args:
        node: a mapping.
        outer: the mappings that this one is being merged into.
    """
    if node in outer:
        raise _refuse("a mapping cannot be merged into itself", node)
    merged: dict[str, yaml.Node] = {}
    own: dict[str, yaml.Node] = {}
    merges = [pair for pair in node.value if pair[0].tag == MERGE]
    if len(merges) > 1:
        raise _refuse("<< is given twice; one with a list merges several: [*a, *b]", merges[1][0])
    for _, value in merges:
        for other in reversed(_merged(value)):
            merged |= _pairs(other, (*outer, node))
    for key, value in node.value:
        if key.tag == MERGE:
            continue
        if not isinstance(key, yaml.ScalarNode):
            raise _refuse("a key must be a text, not a list or a mapping", key)
        if key.value in own:
            raise _refuse(f"the key {key.value!r} is given twice", key)
        own[key.value] = value
    return {**merged, **own}


def _merged(value: yaml.Node) -> list[yaml.MappingNode]:
    """What `<<` merges in: a mapping, or several, of which the earlier win."""
    several = value.value if isinstance(value, yaml.SequenceNode) else [value]
    mappings = [item for item in several if isinstance(item, yaml.MappingNode)]
    if len(mappings) < len(several):
        raise _refuse("<< merges a mapping or a list of mappings, such as *base", value)
    return mappings


_Loader.add_constructor("tag:yaml.org,2002:bool", _bool)
_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse_yaml(text: str, source: str = "config") -> Any:
    r"""YAML text as plain values, which share nothing: an alias is a copy.

    Raises:
        ConfigError: it is no YAML, or can be read in two ways; with line and column.

    >>> parse_yaml("base: &b {steps: 5, seeds: 2}\nmine: {<<: *b, steps: 9}")["mine"]
    {'steps': 9, 'seeds': 2}
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else unshared(loader.construct_object(node, deep=True))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{source} is not valid YAML{place}: {_in_words(error)}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}") from None
    except ValueError as error:  # a tag such as !!int on what is none
        raise ConfigError(f"{source} is not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{source} is not valid YAML: it is nested too deeply") from None


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
    if "unconstructable recursive" in problem:
        return "an alias stands for something that holds it"
    return problem


def unshared(value: Any) -> Any:
    """Plain values without parts in common: what changes one place changes no other.

    >>> part = [1]
    >>> copy = unshared({"a": part, "b": part})
    >>> copy["a"] is copy["b"]
    False
    """
    if isinstance(value, Mapping):
        return {key: unshared(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unshared(item) for item in value]
    return value
