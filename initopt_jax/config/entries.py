"""What the entries of a config look like: each part of its schema, with the words of its errors."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

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

from initopt_jax.checks import LARGEST
from initopt_jax.config.task_keys import TEST_FUNCTION, of_task
from initopt_jax.errors import checked_size, nearest

MAX_SEED = 1_000_000  # reported seeds lie below, tuning seeds start here: they never meet
Count = Annotated[int, Field(ge=1, le=LARGEST, strict=True)]
Step = Annotated[int, Field(ge=0, le=LARGEST, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**63, strict=True)]
Name = Annotated[str, Field(min_length=1)]
Size = Annotated[str, AfterValidator(checked_size)]


def one_of(value: Any, words: Sequence[str], other: str) -> str:
    """That a value must be one of some words or something else, with the nearest word.

    >>> one_of("lst", ("first", "last"), "a number")
    "must be first, last or a number; did you mean 'last'?"
    """
    close = nearest(value, words) if isinstance(value, str) else ""
    hint = f"; did you mean {close!r}?" if close else ""
    return f"must be {', '.join(words)} or {other}{hint}"


class Strict(BaseModel):
    """A part whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Open(BaseModel):
    """An entry whose further keys are options of what it names; `resolve` checks them."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
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


def there(value: Entry | None) -> Entry:
    """What may be left out in some studies, and not in this one."""
    if value is None:
        raise PydanticCustomError("missing", "is missing")
    return value


class SplitConfig(Strict):
    """Shares of the data held out, and the seed of the permutation that picks them."""

    val: float = Field(default=0.2, gt=0, lt=1)
    test: float = Field(default=0.2, gt=0, lt=1)
    seed: Seed = 0

    @model_validator(mode="after")
    def _something_left(self) -> "SplitConfig":
        if self.val + self.test >= 1:
            raise ValueError(f"val + test must stay below 1, got {self.val + self.test:g}")
        return self


class DatasetConfig(Open):
    """A data set by name (`digits`, `tfds:mnist`, `module:function`) and its options."""


class FunctionConfig(Open):
    """A test function of two variables by name (`ravine`, `module:function`) and its options."""


class AugmentationConfig(Open):
    """A random change of training examples by name (`random_crop`, `module:function`)."""


class TaskConfig(Strict):
    """What is learned: a loss with metrics, on a data set, in batches of one size.

    Of the task `test_function` it is a `function`, and there are no data: the other keys are None.

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
        return value if info.data.get("name") == TEST_FUNCTION else there(value)


class ModelConfig(Open):
    """A model by name (`mlp`, `linear`, `module:function`) and its options."""


class InitializerConfig(Open):
    """An initializer for weights, with its swept hyperparameters, and what other leaves get.

    Attributes:
        label: the name in tables; by default the name with the values of its hyperparameters.
        base: for an initializer that sees the whole network: what draws the weights it starts from.
        bias: initializer of biases.
        rules: path pattern to initializer, tried before the default rules.
        layout: of a rule: how its leaf is used, where the network cannot be followed: `a i o`.
    """

    label: Name | None = None
    base: "InitializerConfig | None" = None
    bias: "InitializerConfig | None" = None
    rules: dict[str, "InitializerConfig"] = {}
    layout: Name | None = None


class PerLeafConfig(Open):
    """A parametrization by name (`mup`, `ntk`, `spectral`) and its options: a rate per leaf.

    Attributes:
        kind: how the optimizer's updates go with its gradients: `sgd` where they are linear in
            them, `adam` where their size does not matter. Known for our own.
    """

    kind: Literal["sgd", "adam"] | None = None


class ScheduleConfig(Open):
    """A learning-rate schedule by name and its options, shares of a run: numbers to sweep."""


class ModifierConfig(Open):
    """What stands around an optimizer, by name, and its options: numbers to sweep."""


class OptimizerConfig(Open):
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


class ProbeConfig(Open):
    """A measurement of lanes by name (`weight_norm`, `module:function`) and its options.

    Attributes:
        at: `every` evaluation, the `ends` (the first and the last), or every so many and the last;
            by default what suits the probe.
        examples: of the training split, that it looks at; by default what suits the probe.
    """

    at: Count | Literal["every", "ends"] | None = None
    examples: Count | None = None

    @field_validator("at", mode="before")
    @classmethod
    def _known_time(cls, value: Any) -> Any:
        number = type(value) is int and 1 <= value <= LARGEST
        if value is None or number or value in ("every", "ends"):
            return value
        raise ValueError(one_of(value, ("every", "ends"), "a number of evaluations, at least 1"))


class SeedsConfig(Strict):
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


class TuningConfig(Strict):
    """How hyperparameters are chosen: on this many seeds of their own, on validation data.

    The metric is one of the validation split, or `steps_to_target`: most seeds that reach the
    target, then fewest steps.
    """

    seeds: int = Field(default=3, ge=0, le=MAX_SEED, strict=True)
    metric: str = "val_loss"


class TargetConfig(Strict):
    """What "fast" means: the first evaluation at which the metric is good enough."""

    metric: str = "val_accuracy"
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> "TargetConfig":
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give exactly one of at_least and at_most")
        return self
