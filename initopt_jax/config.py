"""The config: its schema, YAML in, JSON out, `--set` overrides, and errors a person can act on.

A config says *what* to study; `resolve` turns its names into functions and its lists into lanes.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from initopt_jax.errors import ConfigError, checked_size, nearest
from initopt_jax.overrides import apply_override
from initopt_jax.task_keys import COST_FUNCTION, of_config, of_task
from initopt_jax.yaml_text import parse_yaml

MAX_SEED = 1_000_000  # reported seeds lie below, tuning seeds start here: they never meet
Count = Annotated[int, Field(ge=1, strict=True)]
Name = Annotated[str, Field(min_length=1)]
Size = Annotated[str, AfterValidator(checked_size)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Open(BaseModel):
    """An entry whose further keys are options of what it names; `resolve` checks them."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: Name

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        """The keys that the schema does not know: options or hyperparameters by name."""
        return dict(self.model_extra or {})


Entry = TypeVar("Entry")


def _there(value: Entry | None) -> Entry:
    """What may be left out in some studies, and not in this one."""
    if value is None:
        raise PydanticCustomError("missing", "is missing")
    return value


class SplitConfig(_Strict):
    """Shares of the data held out, and the seed of the permutation that picks them."""

    val: float = Field(default=0.2, gt=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)
    seed: int = Field(default=0, ge=0, strict=True)

    @model_validator(mode="after")
    def _something_left(self) -> "SplitConfig":
        if self.val + self.test >= 1:
            raise ValueError(f"val + test must stay below 1, got {self.val + self.test:g}")
        return self


class DatasetConfig(_Open):
    """A data set by name (`digits`, `tfds:mnist`, `module:function`) and its options."""


class FunctionConfig(_Open):
    """A cost function of two variables by name (`ravine`, `module:function`) and its options."""


class AugmentationConfig(_Open):
    """A random change of training examples by name (`random_crop`, `module:function`)."""


class TaskConfig(_Strict):
    """What is learned: a loss with metrics, on a data set, in batches of one size.

    Of the task `cost_function` it is a `function`, and there are no data: the other keys are None.

    Attributes:
        augment: what happens to the examples of training steps, in this order; None for nothing.
    """

    name: Name
    dataset: DatasetConfig | None = Field(default=None, validate_default=True)
    batch_size: Count | Literal["full"] | None = 64
    split: SplitConfig | None = SplitConfig()
    augment: list[AugmentationConfig] | None = None
    function: FunctionConfig | None = None

    @field_validator("augment", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        listed = [value] if isinstance(value, str | Mapping) else value
        return None if listed == [] else listed

    @model_validator(mode="before")
    @classmethod
    def _of_one_kind(cls, value: Any) -> Any:
        return of_task(value) if isinstance(value, Mapping) else value

    @field_validator("dataset")
    @classmethod
    def _something_to_learn(
        cls, value: DatasetConfig | None, info: ValidationInfo
    ) -> DatasetConfig | None:
        return value if info.data.get("name") == COST_FUNCTION else _there(value)


class ModelConfig(_Open):
    """A model by name (`mlp`, `linear`, `module:function`) and its options."""


class InitializerConfig(_Open):
    """An initializer for weights, with its swept hyperparameters, and what other leaves get.

    Attributes:
        label: the name in tables; by default the name with the values of its hyperparameters.
        base: for an initializer that sees the whole network: what draws the weights it starts from.
        bias: initializer of leaves named `bias`.
        rules: path pattern to initializer, tried before the default rules.
    """

    label: Name | None = None
    base: "InitializerConfig | None" = None
    bias: "InitializerConfig | None" = None
    rules: dict[str, "InitializerConfig"] = {}


class PerLeafConfig(_Open):
    """A parametrization by name (`mup`, `ntk`, `spectral`) and its options: a rate per leaf.

    Attributes:
        kind: how the optimizer's updates go with its gradients: `sgd` where they are linear in
            them, `adam` where their size does not matter. Known for our own.
    """

    kind: Literal["sgd", "adam"] | None = None


class ScheduleConfig(_Open):
    """A learning-rate schedule by name and its options, shares of a run: numbers to sweep."""


class ModifierConfig(_Open):
    """What stands around an optimizer, by name, and its options: numbers to sweep."""


class OptimizerConfig(_Open):
    """A gradient transformation with its swept hyperparameters.

    Attributes:
        label: the name in tables; by default the name with its static options.
        batch_size: overrides the task's; `full` is the whole training set.
        steps, eval_every: override the study's.
        static: options that change the transform's structure and so are never swept.
        per_leaf: multiplies each leaf's updates by a number of its own.
        schedule: multiplies the learning rate, step by step.
        modifiers: clipping, weight decay, noise, averages...: each has its place, before, behind or
            around the transformation; those of one place act in the order of the list.
    """

    label: Name | None = None
    batch_size: Count | Literal["full"] | None = None
    steps: Count | None = None
    eval_every: Count | None = None
    static: dict[str, Any] = {}
    per_leaf: PerLeafConfig | None = None
    schedule: ScheduleConfig | None = None
    modifiers: list[ModifierConfig] = []


class SeedsConfig(_Strict):
    """Seeds of the three streams: `all` ties them, else every init seed meets every data seed."""

    all: Count | None = None
    init: Count | None = None
    data: Count | None = None
    first: int = Field(default=0, ge=0, lt=MAX_SEED, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return {"all": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _one_form(self) -> "SeedsConfig":
        crossed = self.init is not None or self.data is not None
        if (self.all is not None) == crossed:
            raise ValueError("give a number (tied seeds) or {init: n, data: m} (crossed), not both")
        if crossed and (self.init is None or self.data is None):
            raise ValueError("a crossed design needs both: {init: n, data: m}")
        most = max(self.all or 0, self.init or 0, self.data or 0)
        if self.first + most > MAX_SEED:
            raise ValueError(f"first + number of seeds must stay within {MAX_SEED}")
        return self


class TuningConfig(_Strict):
    """How hyperparameters are chosen: on this many seeds of their own, on validation data.

    The metric is one of the validation split, or `steps_to_target`: most seeds that reach the
    target, then fewest steps.
    """

    seeds: int = Field(default=3, ge=0, strict=True)
    metric: str = "val_loss"


class TargetConfig(_Strict):
    """What "fast" means: the first evaluation at which the metric is good enough."""

    metric: str = "val_accuracy"
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> "TargetConfig":
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give exactly one of at_least and at_most")
        return self


class Config(_Strict):
    """A study.

    Attributes:
        name: names the default folder, `runs/<name>`.
        model: None for a cost function, as nothing but a point moves there.
        seeds: number of reported seeds, or a crossed design.
        steps: optimizer steps of every lane.
        eval_every: steps between evaluations; divides `steps`. Default: a tenth of the steps.
        eval_train: `train_*` is measured on at most so many training examples.
        target: what counts as reached.
        probes: measurements at every evaluation.
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

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
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
    probes: list[Name] = ["weight_norm"]
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    tile_width: Count | list[Count] | None = None
    checkpoint_every: float = Field(default=30.0, gt=0)
    device_data: Size = "2GiB"
    early_stop: bool = False
    audit: bool = True

    @model_validator(mode="before")
    @classmethod
    def _of_one_kind(cls, value: Any) -> Any:
        return of_config(value) if isinstance(value, Mapping) else value

    @field_validator("model")
    @classmethod
    def _something_that_learns(
        cls, value: ModelConfig | None, info: ValidationInfo
    ) -> ModelConfig | None:
        task = info.data.get("task")
        return value if task is None or task.name == COST_FUNCTION else _there(value)

    @property
    def is_function(self) -> bool:
        """Whether the task is a bare cost function."""
        return self.task.name == COST_FUNCTION

    @field_validator("probes")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len(set(value)) != len(value):
            raise ValueError("each probe may be named once")
        return value

    def to_json(self) -> dict[str, Any]:
        """The whole config, defaults included, as plain JSON values."""
        return self.model_dump(mode="json")


def read_config(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> Config:
    """A validated config from a YAML file or a mapping, with `key=value` overrides applied.

    Raises:
        ConfigError: the file cannot be read, is no YAML, or breaks the schema.
    """
    if isinstance(source, Mapping):
        raw: Any = copy.deepcopy(dict(source))
    else:
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigError(f"cannot read the config {str(source)!r}: {reason}") from None
        raw = parse_yaml(text, str(source))
    if not isinstance(raw, dict):
        raise ConfigError(
            "a config is a mapping with the keys name, task, model, initializers, ..."
        )
    for override in overrides:
        apply_override(raw, override)
    return validate(raw)


def validate(raw: Mapping[str, Any]) -> Config:
    """The config of plain values. Raises ConfigError listing every problem, one line each."""
    try:
        config = Config.model_validate(raw)
    except pydantic.ValidationError as error:
        lines = [_explain(item, raw) for item in error.errors()]
        raise ConfigError("; ".join(dict.fromkeys(lines))) from None
    _refuse_non_finite(config.to_json(), "")
    return config


def _refuse_non_finite(value: Any, place: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{place} must be a finite number, got {value}")
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        _refuse_non_finite(item, f"{place}.{key}" if place else str(key))


def _explain(item: Any, raw: Mapping[str, Any]) -> str:
    location = [str(part) for part in item["loc"]]
    place = ".".join(location) or "config"
    if item["type"] == "extra_forbidden":
        model = _schema_at(location[:-1])
        allowed = sorted(model.model_fields) if model else []
        close = nearest(location[-1], allowed)
        hint = f"; did you mean {close!r}?" if close else ""
        return f"unknown key {place!r}{hint} Allowed: {', '.join(allowed)}"
    if item["type"] == "missing":
        return f"{place} is missing"
    message = item["msg"].removeprefix("Value error, ")
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
