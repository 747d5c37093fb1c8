"""What statistics and reports need to know of a study besides its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import xarray as xr

from initopt_jax.types import Direction

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Target:
    """What "fast enough" means: a metric that must come to lie above, or below, a number.

    Args:
        metric: a variable of the results, such as `val_accuracy`.
        at_least: reached where the metric is this or more.
        at_most: reached where the metric is this or less. Exactly one of the two is given.

    Raises:
        ValueError: if both or neither bound is given.

    >>> Target("val_accuracy", at_least=0.95).text
    'validation accuracy ≥ 0.95'
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(
                f"target on {self.metric!r}: give exactly one of at_least and at_most, "
                f"not at_least={self.at_least!r} and at_most={self.at_most!r}"
            )

    @property
    def text(self) -> str:
        """The target in words."""
        sign, bound = ("≥", self.at_least) if self.at_most is None else ("≤", self.at_most)
        return f"{readable(self.metric)} {sign} {bound:g}"


@dataclass(frozen=True)
class StudyInfo:
    """A study in a few words and names; the numbers are in its dataset and lane table.

    Args:
        name: of the study.
        task: `classification`, `regression` or another task's name.
        dataset: name of the data set.
        model: one line, such as `mlp 64-64-64-10, tanh`.
        primary: the metric that reports lead with, such as `accuracy` or `r2`.
        metrics: metric name (without split) to the direction that is better.
        selection: the variable that tuning compares, such as `val_loss`.
        target: what the `*_to_target` variables measured, or None.
        chance: the best test score (in `primary`) of a prediction that ignores its input: the share
            of the largest class, or 0 for R^2. None where unknown.
        manifest: (what, value) rows for the reader: platform, versions, seconds...

    Raises:
        ValueError: if `primary` or the metric of `selection` is not in `metrics`.

    >>> info = StudyInfo("demo", "classification", "digits", "mlp")
    >>> info.direction("val_loss"), info.direction("test_accuracy")
    ('min', 'max')
    """

    name: str
    task: str
    dataset: str
    model: str
    primary: str = "accuracy"
    metrics: Mapping[str, Direction] = field(
        default_factory=lambda: {"loss": "min", "accuracy": "max"}
    )
    selection: str = "val_loss"
    target: Target | None = None
    chance: float | None = None
    manifest: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for argument, metric in (("primary", self.primary), ("selection", bare(self.selection))):
            if metric not in self.metrics:
                allowed = ", ".join(sorted(self.metrics))
                raise ValueError(f"{argument}: unknown metric {metric!r}. Allowed: {allowed}")

    def direction(self, variable: str) -> Direction:
        """The direction in which a variable such as `val_loss` is better."""
        return self.metrics[bare(variable)]


def bare(variable: str) -> str:
    """A variable's metric without its split.

    >>> bare("val_accuracy"), bare("loss")
    ('accuracy', 'loss')
    """
    split, _, rest = variable.partition("_")
    return rest if split in SPLITS and rest else variable


def readable(variable: str) -> str:
    """A variable's name for readers.

    >>> readable("val_loss"), readable("test_r2"), readable("flops_to_target")
    ('validation loss', 'test R²', 'flops to target')
    """
    words = variable.replace("val_", "validation ", 1) if variable[:4] == "val_" else variable
    words = words.replace("_", " ")
    return words[:-2] + "R²" if words.split()[-1] == "r2" else words


def metric_variables(dataset: xr.Dataset, info: StudyInfo) -> list[str]:
    """The metrics that a dataset holds, by split and then in the order of `info.metrics`."""
    names = [f"{split}_{metric}" for split in SPLITS for metric in info.metrics]
    return [name for name in names if name in dataset]


def headline_metric(dataset: xr.Dataset, info: StudyInfo) -> str:
    """The variable to lead with: `primary` on the test split, else on validation, else on training.

    Raises:
        ValueError: if no split has it.
    """
    for split in reversed(SPLITS):
        if f"{split}_{info.primary}" in dataset:
            return f"{split}_{info.primary}"
    raise ValueError(f"primary: the results hold no {info.primary!r} of any split")
