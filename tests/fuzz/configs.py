"""Strategies for whole configs: valid ones, near-valid changes of them, and hostile ones."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from hypothesis import strategies as st

from initopt_jax import (
    augmentations,
    initializers,
    models,
    modifiers,
    probes,
    schedules,
    transforms,
)
from initopt_jax.tasks import functions
from initopt_jax.types import option_names
from tests.fuzz.hostile import HOSTILE_NUMBERS, LINES, MODULES, NAMES

DATA = {  # small ones of each task; what a model cannot take is to be refused
    "classification": ("iris", "wine", "digits", "two_moons", "spirals", "blobs", "parity"),
    "regression": ("diabetes", "chebyshev", "friedman", "adding", "california_like", "teacher"),
    "reconstruction": ("iris", "digits"),
}
MODELS = ("linear", "linear", "mlp", "mlp", "deep_linear")
OF_PICTURES = ("cnn", "resnet", "rnn", "lstm", "gru", "mixer", "transformer", "vit", "lenet5")
BORROWED = ("optax.adam", "optax.sgd", "optax.lion", "optax.rprop", "optax.sm3", "optax.adafactor")
RATES = (0.001, 0.01, 0.1, 1.0)
KINDS = ("valid", "changed", "changed", "changed", "hostile", "text", "text", "setting")


def options_of(draw: Any, function: Callable[..., Any], *, swept: bool) -> dict[str, Any]:
    """Some of a function's options, near their defaults."""
    found: dict[str, Any] = {}
    for name, default in option_names(function).items():
        if default is inspect.Parameter.empty or draw(st.integers(0, 3)) != 0:
            continue
        if isinstance(default, bool):
            found[name] = draw(st.booleans())
        elif isinstance(default, int):
            found[name] = max(0, default + draw(st.integers(-1, 2)))
        elif isinstance(default, float):
            values = (default, default / 2, default * 2, default / 10)
            found[name] = draw(st.sampled_from(values))
            if swept and draw(st.booleans()):
                found[name] = list(dict.fromkeys(values[:2]))
    return found


@st.composite
def optimizers(draw: Any) -> Any:
    """An optimizer, with a schedule and modifiers now and then."""
    name = draw(st.sampled_from((*transforms.REGISTRY, *BORROWED)))
    rates = st.sampled_from(RATES)
    entry: dict[str, Any] = {"name": name, "learning_rate": draw(rates)}
    if name in transforms.REGISTRY:
        made = options_of(draw, transforms.REGISTRY[name].make, swept=True)
        entry = {**made, **entry}
    extra = draw(st.integers(0, 11))
    if extra == 0:
        entry["label"] = draw(st.sampled_from(NAMES))
    elif extra == 1:
        kind = draw(st.sampled_from(list(schedules.REGISTRY)))
        multiplier = schedules.REGISTRY[kind].multiplier
        entry["schedule"] = {"name": kind, **options_of(draw, multiplier, swept=True)}
    elif extra == 2:
        kind = draw(st.sampled_from(list(modifiers.REGISTRY)))
        made = modifiers.REGISTRY[kind].make
        entry["modifiers"] = [{"name": kind, **options_of(draw, made, swept=True)}]
    elif extra == 3:
        entry["per_leaf"] = {"name": draw(st.sampled_from(["mup", "ntk", "spectral"]))}
    elif extra == 4:
        entry["batch_size"] = draw(st.sampled_from(["full", 1, 8, 10**6]))
    elif extra == 5:
        entry["steps"] = draw(st.sampled_from([1, 2, 3, 10**8]))
    return name if extra == 6 else entry


@st.composite
def first_weights(draw: Any) -> Any:
    """An initializer, with rules, a base or a label now and then."""
    known = {**initializers.REGISTRY, **initializers.MODEL_LEVEL}
    name = draw(st.sampled_from(list(known)))
    if name not in initializers.REGISTRY:
        return draw(st.sampled_from([name, {"name": name, "base": "orthogonal"}]))
    entry = {"name": name, **options_of(draw, known[name].draw, swept=True)}
    extra = draw(st.integers(0, 7))
    if extra == 0:
        entry["label"] = draw(st.sampled_from(NAMES))
    elif extra == 1:
        pattern = draw(st.sampled_from(["*kernel", "*/kernel", "*bias", "*", "nothing", "[", ""]))
        entry["rules"] = {pattern: draw(st.sampled_from(list(initializers.REGISTRY)))}
    elif extra == 2:
        entry["bias"] = draw(st.sampled_from(["zeros", "ones", "normal"]))
    return name if extra > 4 else entry


def several(entries: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """One or two entries with names of their own."""

    def name_of(entry: Any) -> str:
        return str(entry.get("label", entry["name"])) if isinstance(entry, dict) else entry

    return st.lists(entries, min_size=1, max_size=2, unique_by=name_of)


@st.composite
def valid(draw: Any) -> dict[str, Any]:
    """A config such as people write: most of these are taken, some are refused."""
    config: dict[str, Any] = {"name": "fuzz", "seeds": draw(st.integers(1, 3)), "steps": 4}
    if draw(st.integers(0, 4)) == 0:
        name = draw(st.sampled_from(list(functions.REGISTRY)))
        made = options_of(draw, functions.REGISTRY[name].value, swept=False)
        config["task"] = {"name": "test_function", "function": {"name": name, **made}}
        config["seeds"] = 4  # a square number, as a grid asks for
        config["initializers"] = [draw(st.sampled_from(["grid", "uniform", "normal", "point"]))]
    else:
        task = draw(st.sampled_from(["classification"] * 3 + ["regression", "reconstruction"]))
        data: dict[str, Any] = {"name": draw(st.sampled_from(DATA[task]))}
        if draw(st.integers(0, 3)) == 0:
            data["limit"] = draw(st.integers(20, 60))
        config["task"] = {"name": task, "dataset": data, "batch_size": 8}
        if draw(st.integers(0, 9)) == 0:
            config["task"]["augment"] = [draw(st.sampled_from(list(augmentations.REGISTRY)))]
        pictures = OF_PICTURES if data["name"] == "digits" else ()
        fit = ("autoencoder", "mlp") if task == "reconstruction" else (*MODELS, *pictures)
        model = draw(st.sampled_from(fit))
        made = options_of(draw, models.REGISTRY[model].make, swept=False)
        config["model"] = {"name": model, **made}
        if model == "mlp":
            config["model"]["hidden"] = draw(st.sampled_from([[4], [3, 2], [5]]))
        config["initializers"] = draw(several(first_weights()))
    config["optimizers"] = draw(several(optimizers()))
    for key, values in (
        ("tuning", [{"seeds": 1}, {"seeds": 0}, {"metric": "steps_to_target"}]),
        ("eval_every", [1, 2, 4]),
        ("target", [{"metric": "val_loss", "at_most": 0.5}, {"at_least": 0.9}]),
        ("keep", ["final", "every", [0, 4]]),
        ("precision", ["float32", "bfloat16", "float64"]),
        ("early_stop", [True]),
        ("tile_width", [1, 2, 16]),
        ("device_data", ["1KiB", "2GiB"]),
        ("seeds", [{"init": 1, "data": 2}, {"all": 2, "first": 5}]),
    ):
        if draw(st.integers(0, 7)) == 0:
            config[key] = draw(st.sampled_from(values))
    if config.get("keep") == "every" and "model" in config:
        config["landscapes"] = draw(st.lists(st.sampled_from(["slice", "paths"]), unique=True))
    if draw(st.integers(0, 5)) == 0:
        config["probes"] = [{"name": draw(st.sampled_from(list(probes.REGISTRY)))}]
    return config


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of nested values, the whole first."""
    pairs = value.items() if isinstance(value, Mapping) else ()
    pairs = enumerate(value) if isinstance(value, list) else pairs
    return [path, *(place for key, inner in pairs for place in places(inner, (*path, key)))]


def strange_values() -> st.SearchStrategy[Any]:
    """Values of any type, most of which belong nowhere."""
    texts = st.sampled_from((*NAMES, *MODULES)) | st.text(max_size=8)
    plain = st.sampled_from(HOSTILE_NUMBERS) | texts | st.none()
    return (
        plain
        | st.lists(plain, max_size=3)
        | st.dictionaries(texts, plain, max_size=2)
        | st.builds(lambda text: {"name": text}, texts)
        | st.sampled_from([[[]], [[1]], {}, [], {"name": []}, {"name": {}}, [None], [{}], [[[[]]]]])
    )


def change(draw: Any, config: dict[str, Any]) -> None:
    """One change in place, such as a slip of the hand or of a program."""
    path = draw(st.sampled_from(places(config)[1:]))
    *parents, last = path
    place: Any = config
    for key in parents:
        place = place[key]
    how = draw(st.integers(0, 7))
    if how <= 2:
        place[last] = draw(strange_values())
    elif how == 3:
        del place[last]
    elif how == 4:
        place[last] = [place[last], place[last]]
    elif how == 5 and isinstance(place, dict):
        at = draw(st.integers(0, max(0, len(str(last)) - 1)))
        place[str(last)[:at] + str(last)[at + 1 :]] = place.pop(last)
    elif how == 6 and isinstance(place, dict):
        place[draw(st.sampled_from((*NAMES, "steps", "seed", "label", "name")))] = place[last]
    else:
        place[last] = str(place[last])


@st.composite
def changed(draw: Any) -> dict[str, Any]:
    """A valid config with one to three changes."""
    config = draw(valid())
    for _ in range(draw(st.integers(1, 3))):
        if len(places(config)) > 1:
            change(draw, config)
    return config


@st.composite
def hostile(draw: Any) -> dict[str, Any]:
    """Numbers and names from elsewhere in every second place."""
    config = draw(valid())
    for path in places(config)[1:]:
        place: Any = config
        for key in path[:-1]:
            place = place[key] if isinstance(place, dict | list) else None
        if isinstance(place, dict | list) and not isinstance(place[path[-1]], dict | list):
            wanted = HOSTILE_NUMBERS if not isinstance(place[path[-1]], str) else MODULES
            if draw(st.integers(0, 5)) == 0:
                place[path[-1]] = draw(st.sampled_from(wanted))
    return config


def as_text(config: Mapping[str, Any]) -> str:
    """The config as YAML; what YAML has no words for is written as Python would."""
    try:
        return yaml.safe_dump(dict(config), allow_unicode=True, sort_keys=False)
    except (yaml.YAMLError, ValueError, UnicodeError):
        return repr(config)


@st.composite
def damaged_text(draw: Any) -> str:
    """YAML text of a config, with lines or letters that do not belong there."""
    text = as_text(draw(st.one_of(valid(), changed())))
    for _ in range(draw(st.integers(1, 2))):
        how, at = draw(st.integers(0, 4)), draw(st.integers(0, len(text)))
        if how == 0:
            text = text[:at] + draw(st.sampled_from(LINES)) + text[at:]
        elif how == 1:
            text = text[:at] + text[at + draw(st.integers(1, 12)) :]
        elif how == 2:
            lines = text.split("\n")
            row = draw(st.integers(0, len(lines) - 1))
            key, colon, _ = lines[row].partition(": ")
            lines[row] = f"{key}{colon or ': '}{draw(st.sampled_from(LINES))}"
            text = "\n".join(lines)
        elif how == 3:
            lines = text.split("\n")
            lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(LINES)))
            text = "\n".join(lines)
        else:
            text = text[:at] + draw(st.characters(max_codepoint=0x300)) + text[at:]
    return text


@st.composite
def settings_of(draw: Any, config: dict[str, Any]) -> list[str]:
    """`--set` overrides, of places that are there and of others."""
    paths = [".".join(map(str, path)) for path in places(config)[1:]]
    odd = (
        "", ".", "a..b", "steps.", ".steps", "optimizers.9", "optimizers.-1.name",
        "optimizers.²", "optimizers.٣.name", "optimizers." + "9" * 5000, "name.x", "seeds.all",
        "x" * 5000, "\x00", "task.dataset.csv", "model.hidden.0", "model.hidden", "steps.steps",
        "=", "a=b",
    )  # fmt: skip
    values = (*LINES, *map(str, HOSTILE_NUMBERS), *NAMES, *MODULES)
    some = st.builds(
        lambda key, equals, value: key + equals + value,
        st.sampled_from((*paths, *odd)),
        st.sampled_from(["="] * 9 + [""]),
        st.sampled_from(values),
    )
    return draw(st.lists(some, min_size=1, max_size=2))


@st.composite
def tries(draw: Any) -> dict[str, Any]:
    """A try of a config as plain values, see `config_tries`."""
    kind = draw(st.sampled_from(KINDS))
    via = draw(st.sampled_from(["plan"] * 7 + ["cli", "cli", "audit"]))
    given: dict[str, Any] = {"via": via}
    if kind == "text":
        given["text"] = draw(damaged_text())
        given["encoding"] = draw(st.sampled_from(["utf-8"] * 8 + ["utf-16", "latin-1"]))
        return given
    config = draw({"valid": valid, "changed": changed, "hostile": hostile}.get(kind, valid)())
    given["config"] = config
    if kind == "setting":
        given["settings"] = draw(settings_of(config))
    if kind == "valid" and draw(st.integers(0, 11)) == 0:
        given["via"] = "run"
    if via == "cli" and draw(st.integers(0, 3)) == 0:
        given["arguments"] = draw(
            st.lists(st.sampled_from((*ARGUMENTS, *NAMES)), min_size=1, max_size=3)
        )
    return given


ARGUMENTS = (
    "--out", "--devices", "0", "1", "-1", "100000", "2" * 30, "--fast", "--set", "steps=1",
    "--out=", "--out=/dev/null/x", "--out=/proc/x", "--out=" + "a" * 300, "--out=" + "a/" * 3000,
    "--out=.", "--out=~nouser/x", "--dry-run", "--help", "--nothing", "--devices=1",
    "--devices=x", "--",
)  # fmt: skip
