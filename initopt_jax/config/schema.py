"""The config: its schema, YAML in, JSON out, `--set` overrides, and errors a person can act on.

A config says *what* to study; `resolve` turns its names into functions and its lists into lanes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from initopt_jax.config.entries import (
    Count,
    InitializerConfig,
    ModelConfig,
    OptimizerConfig,
    ProbeConfig,
    SeedsConfig,
    Size,
    SplitConfig,
    Step,
    Strict,
    TargetConfig,
    TaskConfig,
    TuningConfig,
    one_of,
    there,
)
from initopt_jax.config.landscapes import KINDS, LandscapeConfig, check_kept
from initopt_jax.config.overrides import apply_override
from initopt_jax.config.task_keys import TEST_FUNCTION, of_config
from initopt_jax.config.yaml_text import TEXT, parse_yaml, unshared
from initopt_jax.errors import ConfigError, nearest, unknown_name
from initopt_jax.opening import may_wait, refuse_special
from initopt_jax.plain_values import plain


class Config(Strict):
    """A study.

    Attributes:
        name: names the default folder, `runs/<name>`.
        model: None for a test function, as nothing but a point moves there.
        seeds: number of reported seeds, or a crossed design.
        steps: optimizer steps of every lane.
        eval_every: steps between evaluations; divides `steps`. Default: a tenth of the steps.
        eval_train: `train_*` is measured on at most so many training examples.
        target: what counts as reached.
        probes: measurements of weights and loss between steps; they change no other number.
        keep: the state of lanes that is stored: `final`, `every` evaluation, or the steps listed.
        landscapes: pictures of the loss, made from those states after training: `paths`, `slice`,
            `line`, `lanes`; they change no number.
        precision: `float32`; `bfloat16`, in which the model computes, with weights, losses and all
            else in float32; or `float64` for all of the study.
        tile_width: lanes of a tile, or a list with one number per program; by default a rule of
            platform, model and batch size.
        checkpoint_every: seconds between checkpoints of one tile.
        device_data: how much training data a device may hold, such as `512MiB`; a training split
            that takes more is streamed. Changes no numbers.
        early_stop: a lane ends at the evaluation at which it has diverged or reached the target;
            the steps before stay the same to the bit.
        audit: check every parameter leaf's distribution before training.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)
    task: TaskConfig
    model: ModelConfig | None = Field(default=None, validate_default=True)
    initializers: list[InitializerConfig] = Field(min_length=1)
    optimizers: list[OptimizerConfig] = Field(min_length=1)
    seeds: SeedsConfig = SeedsConfig(all=10)
    tuning: TuningConfig = TuningConfig()
    steps: Count = 300
    eval_every: Count | None = None
    eval_train: Count = 10_000
    target: TargetConfig | None = None
    probes: list[ProbeConfig] = Field(default_factory=lambda: [ProbeConfig(name="weight_norm")])
    keep: Literal["final", "every"] | list[Step] | None = None
    landscapes: list[LandscapeConfig] = Field(default_factory=list)
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    tile_width: Count | list[Count] | None = None
    checkpoint_every: float = Field(default=30.0, gt=0)
    device_data: Size = "2GiB"
    early_stop: bool = False
    audit: bool = True
    _folder: Path | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _of_one_kind(cls, value: Any) -> Any:
        return of_config(plain(value)) if isinstance(value, Mapping) else value

    @field_validator("model")
    @classmethod
    def _something_that_learns(
        cls, value: ModelConfig | None, info: ValidationInfo
    ) -> ModelConfig | None:
        task = info.data.get("task")
        return value if task is None or task.name == TEST_FUNCTION else there(value)

    @property
    def folder(self) -> Path | None:
        """Where the file lies that it was read from; None where it was no file."""
        return self._folder

    def as_of(self, folder: Path | None) -> "Config":
        """The config as one that was read from a file in a folder."""
        config = self.model_copy()
        config._folder = folder
        return config

    @property
    def is_function(self) -> bool:
        """Whether the task is a bare test function."""
        return self.task.name == TEST_FUNCTION

    @field_validator("probes")
    @classmethod
    def _distinct(cls, value: list[ProbeConfig]) -> list[ProbeConfig]:
        if len({probe.name for probe in value}) != len(value):
            raise ValueError("each probe may be named once")
        return value

    @field_validator("keep", mode="before")
    @classmethod
    def _known_states(cls, value: Any) -> Any:
        if value is None or value in ("final", "every") or value == []:
            return value or None
        if not isinstance(value, list):
            raise ValueError(one_of(value, ("final", "every"), "a list of steps"))
        if not all(type(step) is int and step >= 0 for step in value):
            raise ValueError("steps must be whole numbers, at least 0")
        if value != sorted(set(value)):
            raise ValueError("list the steps once each, in ascending order")
        return value

    @model_validator(mode="after")
    def _something_to_draw(self) -> "Config":
        check_kept(self.landscapes, self.keep, is_function=self.is_function)
        return self

    def to_json(self) -> dict[str, Any]:
        """The whole config, defaults included, as plain JSON values."""
        return self.model_dump(mode="json")


Source = str | Path | Mapping[str, Any] | Config


def read_config(source: Source, overrides: Sequence[str] = ()) -> Config:
    """A validated config, with `key=value` overrides applied.

    Args:
        source: path of a YAML file, which is read once; a mapping; or a config.
        overrides: changes to it, as `--set` takes them.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or breaks the schema.
    """
    folder = None
    if isinstance(source, Config):
        if not overrides:
            return source
        raw: Any = source.to_json()
        folder = source.folder
    elif isinstance(source, Mapping):
        raw = unshared(source)
    else:
        raw = parse_yaml(_text_of(source), str(source))
        folder = Path(source).resolve().parent
    if not isinstance(raw, dict):
        raise ConfigError(
            "a config is a mapping with the keys name, task, model, initializers, ..."
        )
    for override in overrides:
        apply_override(raw, override)
    return validate(raw).as_of(folder)


def _text_of(source: str | Path) -> str:
    """The text of a config's file; of what has no end, such as a device, no more than allowed."""
    if may_wait(Path(source)) and not str(source).startswith("/dev/"):
        refuse_special("the config", Path(source))  # /dev/fd/63, of `run <(command)`, has a writer
    try:
        with Path(source).open("rb") as file:
            text = file.read(TEXT + 1)
        if len(text) > TEXT:
            raise ConfigError(f"{source} is too long for a config: {TEXT:,} bytes are the most")
        return text.decode("utf-8")
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        reason = f"it is not UTF-8 text (byte {error.start + 1:,}, line {line:,})"
    except ValueError as error:  # no path: it holds a NUL
        reason = str(error)
    raise ConfigError(f"cannot read the config {str(source)!r}: {reason}")


def validate(raw: Mapping[str, Any]) -> Config:
    """The config of plain values. Raises ConfigError listing every problem, one line each."""
    try:
        return Config.model_validate(raw)
    except pydantic.ValidationError as error:
        lines = [_explain(item, raw) for item in error.errors()]
        raise ConfigError("; ".join(dict.fromkeys(lines))) from None


def _explain(item: Any, raw: Mapping[str, Any]) -> str:
    location = [str(part) for part in item["loc"]]
    place = ".".join(location) or "config"
    if item["type"] == "extra_forbidden":
        model = _schema_at(location[:-1])
        allowed = sorted(model.model_fields) if model else []
        return unknown_name("key", place, allowed, last=True)
    if item["type"] == "missing":
        return f"{place} is missing"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "string_type":
        message = "must be a text; write it in quotes if it is one"
    shown = "" if isinstance(item["input"], dict) else f" (got {item['input']!r}{_likely(item)})"
    at = f"{place}: " if location else ""  # what concerns the whole config names its keys itself
    return f"{at}{message[0].lower()}{message[1:]}{shown}"


def _likely(item: Any) -> str:
    """The allowed word that is nearest to a wrong one."""
    if item["type"] != "literal_error" or not isinstance(item["input"], str):
        return ""
    close = nearest(item["input"], item["ctx"]["expected"].split("'")[1::2])
    return f"; did you mean {close!r}?" if close else ""


_SECTIONS: dict[str, type[BaseModel]] = {
    "task": TaskConfig,
    "split": SplitConfig,
    "seeds": SeedsConfig,
    "tuning": TuningConfig,
    "target": TargetConfig,
    **KINDS,
}


def _schema_at(location: Sequence[str]) -> type[BaseModel] | None:
    return _SECTIONS.get(location[-1]) if location else Config


def differences(old: Any, new: Any, place: str = "") -> list[str]:
    """Every place where two JSON values differ, as `place: old -> new`.

    >>> differences({"steps": 100, "seeds": {"all": 3}}, {"steps": 100, "seeds": {"all": 5}})
    ['seeds.all: 3 -> 5']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in dict.fromkeys([*old, *new]):
            inner = f"{place}.{key}" if place else str(key)
            found += differences(old.get(key), new.get(key), inner)
        return found
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [
            line
            for index, (a, b) in enumerate(zip(old, new, strict=True))
            for line in differences(a, b, f"{place}.{index}")
        ]
    return [] if old == new else [f"{place}: {old!r} -> {new!r}"]
