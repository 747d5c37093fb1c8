"""YAML as people write it: what has one meaning is read so, the rest is refused with its place."""

import math

import pytest

from initopt_jax.config.yaml_text import parse_yaml, unshared
from initopt_jax.errors import ConfigError


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", ".1e-2", "0.001", "+1e-3", "01e-3"])
def test_every_way_to_write_a_number(text):
    assert parse_yaml(f"rate: {text}") == {"rate": 0.001}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-.5", -0.5),
        ("12e03", 12000.0),
        ("1_000", 1000),
        ("1_000.5", 1000.5),
        ("0x10", 16),
        ("0o17", 15),
        ("-0", 0),
        ("00.5", 0.5),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("True", True),
        ("~", None),
        ("", None),
        # Texts, though YAML 1.1 made numbers, dates and an error of them.
        ("1:30", "1:30"),
        ("1:30.5", "1:30.5"),
        ("2024-01-31", "2024-01-31"),
        ("=", "="),
        ("inf", "inf"),
        ("1.5.2", "1.5.2"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("'yes'", "yes"),
        ("'010'", "010"),
        ("!!str 5", "5"),
        ("mine:laplace", "mine:laplace"),
    ],
)
def test_scalars(text, value):
    read = parse_yaml(f"v: {text}")["v"]
    assert read == value
    assert type(read) is type(value)


def test_keys_are_texts_as_written():
    text = "on: 1\nyes: 2\n1: 3\nnull: 4\n1.50: 5\n2024-01-31: 6"
    assert list(parse_yaml(text)) == ["on", "yes", "1", "null", "1.50", "2024-01-31"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{<<: *a, x: 9}", {"x": 9, "y": 2}),
        ("{x: 9, <<: *a}", {"x": 9, "y": 2}),
        ("{<<: [*a, *b]}", {"x": 1, "y": 2, "z": 4}),
        ("{<<: [*b, *a]}", {"x": 3, "y": 2, "z": 4}),
        ("{<<: [*b, *a], x: 9}", {"x": 9, "y": 2, "z": 4}),
        ("{<<: *c}", {"x": 5, "y": 2, "w": 6}),
        ("{<<: *c, x: 9}", {"x": 9, "y": 2, "w": 6}),
        ("{<<: {x: 7, <<: *b}, w: 8}", {"x": 7, "z": 4, "w": 8}),
        ("{<<: []}", {}),
    ],
)
def test_merge_keys(text, value):
    """A mapping's own keys win; of several that are merged in, the earlier."""
    anchors = "a: &a {x: 1, y: 2}\nb: &b {x: 3, z: 4}\nc: &c {<<: *a, x: 5, w: 6}\n"
    read = parse_yaml(anchors + f"v: {text}")
    assert read["v"] == value
    assert read["a"] == {"x": 1, "y": 2}, "what is merged stays as it was"
    assert read["c"] == {"x": 5, "y": 2, "w": 6}


def test_aliases_are_copies_and_anchors_may_be_set_again():
    read = parse_yaml("a: &x [1, {k: 2}]\nb: *x\nc: &x 3\nd: *x")
    assert read == {"a": [1, {"k": 2}], "b": [1, {"k": 2}], "c": 3, "d": 3}
    read["a"][1]["k"] = 9
    assert read["b"][1]["k"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 1\nseeds: 2\nsteps: 3", "at line 3, column 1: the key 'steps' is given twice"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n  x: 2\n  x: 3", "line 5, column 3: the key 'x' is given tw"),
        ("b:\n  <<: {x: 2,\n    x: 3}", "line 3, column 5: the key 'x' is given twice"),
        ("a: &a {<<: *a}", "line 1.*stands for something that holds it"),
        ("a: &a [*a]", "line 1.*an alias stands for something that holds it"),
        (
            "a: &a {x: 1}\nb: {<<: *a, <<: *a}",
            r"line 2, column 13: << is given twice; .*\[\*a",
        ),
        ("<<: 3", "line 1.*<< merges a mapping or a list of mappings"),
        ("a: &a 1\nb: {<<: [*a]}", "line 2.*<< merges a mapping"),
        ("[a]: 1", "line 1.*a key must be a text"),
        ("only: *kernel", r"line 1, column 7: .*is written in quotes: '\*kernel'"),
        ("only: */kernel", r"line 1.*is written in quotes, such as '\*kernel'"),
        ("a: &base 1\nb: *bsae", r"line 2.*did you mean \*base\?"),
        ("a: 010", "line 1, column 4: 010 begins with 0.*write 10 for the number, or '010' in q"),
        ("a: [1,000]", "000 begins with 0"),
        ("a: -0_7", "write -7"),
        ("a: yes", "line 1.*yes is true to some .* write true, or 'yes' in quotes"),
        ("- OFF", "line 1, column 3: OFF is false to some .* write false, or 'OFF' in quotes"),
        ("a:\n\tb: 1", "line 2.*indent with spaces, not with tabs"),
        ("name: mine: laplace", "line 1.*in quotes"),
        ("a: 1\nsteps:100\n", "line 3.*followed by a colon and a space"),
        ("a: @x", "line 1.*in quotes"),
        ("a: !x y", "line 1.*in quotes"),
        ("a: !!set {x}", "line 1.*tag"),
        ("a: !!int x", "not valid YAML"),
        ("a: 1\n---\nb: 2", "line 2.*another document"),
        ("a: [1, 2\nb: 3", "line 2, column"),
        ("a: \x00", "not valid YAML"),
        ("a: " + "[" * 5000, "nested more than 64"),
    ],
)
def test_one_clear_message(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("v: !!int x", "line 1, column 4: 'x' is tagged !!int and is not a whole number"),
        ("v: !!int [1]", "a list or mapping is tagged !!int"),
        ("v: !!float x", "'x' is tagged !!float and is not a number"),
        ("v: !!bool maybe", "'maybe' is tagged !!bool and is not true or false"),
        ("v: !!null 5", "'5' is tagged !!null and is not null"),
        ("v: !!map 3", "a mapping is asked for here"),
        ("v: !!binary aGk=", "a text that begins with ! is written in quotes"),
        ("v: !!set {a, b}", "a text that begins with ! is written in quotes"),
        ("v: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: 1\nv: " + "9" * 5000, "line 2, column 4: .* has 5,000 digits"),
        ("v: -0x" + "f" * 5000, None),
        ("v: 0x" + "f" * 5000, "has 5,002 digits"),
        ("v: 1e400", "1e400 is larger than any number"),
        ("v: " + "9" * 400 + ".5", "is larger than any number"),
        ('v: "\\ud800"', r"may not hold the character '\\ud800'"),
        ('v: "\\0"', r"may not hold the character '\\x00'"),
        ('"\\0": 1', r"may not hold the character '\\x00'"),
        ('v: "\\U00110000"', "not valid YAML"),
        ("a: 1\nv: \0", r"line 2: it holds the character '\\x00'"),
        ("v: " + "[" * 300 + "]" * 300, "line 1, column 68: it is nested more than 64 levels"),
        ("\n".join("  " * level + "a:" for level in range(300)), "line 65"),
        ("v: &a [*a]", "an alias stands for something that holds it"),
        ("a: " + "x" * 2**21, "too long for a config"),
        ("[" + "1, " * 60_000 + "]", "more than 50,000 values"),
    ],
)
def test_what_is_no_config_is_told_in_one_line(text, said):
    if said is None:
        assert isinstance(parse_yaml(text)["v"], str)
        return
    with pytest.raises(ConfigError, match=said) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("form", ["[{}]", "{{{}}}", "merge"])
def test_aliases_that_multiply_are_refused_before_they_are_copied(form):
    lines = ["a0: &a0 {x: 1}"]
    for level in range(12):
        alias = f"*a{level}"
        each = [f"k{place}: {alias}" for place in range(10)] if form == "{{{}}}" else [alias] * 10
        inner = f"{{<<: [{', '.join(each)}]}}" if form == "merge" else form.format(", ".join(each))
        lines.append(f"a{level + 1}: &a{level + 1} {inner}")
    with pytest.raises(ConfigError, match=r"line \d, .* more than 50,000 values, with those"):
        parse_yaml("\n".join(lines))


def test_a_mapping_that_holds_itself_is_refused():
    value: dict = {}
    value["v"] = [value]
    with pytest.raises(ConfigError, match="holds itself"):
        unshared(value)
