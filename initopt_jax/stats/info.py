"""What statistics and reports need to know of a study besides its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import xarray as xr

from initopt_jax.config.task_keys import TEST_FUNCTION
from initopt_jax.tasks.function_task import TestFunction
from initopt_jax.tasks.metrics import SPLITS, Target, bare, readable
from initopt_jax.types import Direction

STEPS = "steps_to_target"


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
        selection: the variable that tuning compares, such as `val_loss`; or `steps_to_target`.
        target: what the `*_to_target` variables measured, or None.
        chance: the best test score (in `primary`) of a prediction that ignores its input: the share
            of the largest class, or 0 for R^2. None where unknown.
        test_function: the test function of two variables, where the task is one.
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
    test_function: TestFunction | None = None
    manifest: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for argument, metric in (("primary", self.primary), ("selection", bare(self.selection))):
            if metric not in self.metrics and (argument, metric) != ("selection", STEPS):
                allowed = ", ".join(sorted(self.metrics))
                raise ValueError(f"{argument}: unknown metric {metric!r}. Allowed: {allowed}")

    @property
    def is_function(self) -> bool:
        """Whether a bare test function was minimized: there are no networks, no data, no splits."""
        return self.task == TEST_FUNCTION

    @property
    def lane(self) -> str:
        """What a lane is, in one word."""
        return "run" if self.is_function else "network"

    def readable(self, variable: str) -> str:
        """A variable's name for readers; of a test function all splits are the same.

        >>> StudyInfo("demo", "classification", "digits", "mlp").readable("test_accuracy")
        'test accuracy'
        """
        if not self.is_function:
            return readable(variable)
        words = {"loss": "loss", "distance": "distance from the nearest minimum"}
        return words.get(bare(variable), readable(variable))

    @property
    def target_text(self) -> str:
        """The target in words, or `none`."""
        return self.target.text_of(self.readable(self.target.metric)) if self.target else "none"

    def direction(self, variable: str) -> Direction:
        """The direction in which a variable such as `val_loss` is better."""
        return "min" if variable == STEPS else self.metrics[bare(variable)]


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
