"""Examples to hold a model to its contracts with: of a data set, or made up."""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from initopt_jax import data, tasks
from initopt_jax.errors import ConfigError
from initopt_jax.types import Dataset, Shape, Split, Task

COUNT = 7  # examples of a batch
USUAL_OUTPUTS = 10


@dataclass(frozen=True)
class Examples:
    """Two batches of a few examples.

    Attributes:
        kind: what they are, with the sizes of one.
        where: name of the data.
        task: what is to be learnt from them.
        outputs: how many numbers a model has to give.
        batch: inputs [7, ...] and targets.
        others: as many again.
    """

    kind: str
    where: str
    task: Task
    outputs: int
    batch: Split
    others: Split

    @property
    def text(self) -> str:
        """What they are, and what is to be learnt from them."""
        number = f"{self.outputs} output" + ("" if self.outputs == 1 else "s")
        return f"{self.kind}, {number}, {self.task.name}"

    @property
    def shape(self) -> Shape:
        """Of one example."""
        return self.batch.inputs.shape[1:]


def of_dataset(dataset: Dataset, task: Task) -> Examples:
    """A sample of the training examples of a data set; where there are few, they are repeated."""
    train = data.first_examples(dataset, 2 * COUNT)
    return _examples(dataset.name, dataset.name, task, dataset.outputs, train)


def made_up(shape: Shape, *, outputs: int | None = None, task: str | None = None) -> Examples:
    """Inputs from a normal distribution, and targets without a pattern.

    Args:
        shape: of one example.
        outputs: classes or targets; by default 10, 1 for regression, the inputs for reconstruction.
        task: of the registry; by default classification, and regression of one output, for which
            there are no two classes to tell apart.

    Raises:
        ConfigError: there is no such task, a size is below 1, a classification is to have one
            output, or a reconstruction others than inputs.

    >>> made_up((28, 28, 1)).text
    'made-up examples [28, 28, 1], 10 outputs, classification'
    """
    found = _task(task or ("regression" if outputs == 1 else "classification"))
    size = math.prod(shape)
    if not shape or size < 1 or (outputs is not None and outputs < 1):
        raise ConfigError(f"sizes of inputs and outputs must be at least 1, got {shape}, {outputs}")
    if found.kind == "reconstruction" and outputs not in (None, size):
        raise ConfigError(f"a reconstruction of inputs {shape} has {size} outputs, not {outputs}")
    if found.kind == "classification" and outputs == 1:
        raise ConfigError(
            f"task {found.name!r} needs at least 2 outputs, one per class; for one output take "
            "regression"
        )
    usual = {"reconstruction": size, "regression": 1}.get(found.kind, USUAL_OUTPUTS)
    count = outputs or usual
    random = np.random.default_rng(0)
    inputs = random.standard_normal((2 * COUNT, *shape), dtype=np.float32)
    targets: Any = random.integers(0, count, 2 * COUNT).astype(np.int32)
    if found.kind == "reconstruction":
        targets = inputs.reshape(2 * COUNT, size)
    elif found.kind == "regression":
        targets = random.standard_normal((2 * COUNT, count), dtype=np.float32)
    return _examples("made-up examples", "made-up", found, count, Split(inputs, targets))


def usual() -> Iterator[Examples]:
    """What is tried, in order, where nothing was asked for; made when it is its turn."""
    for shape, what in (((64,), "vectors"), ((8, 8, 1), "pictures"), ((8, 8), "sequences")):
        yield _digits(shape, what)
    yield made_up((28, 28, 1))
    yield made_up((32, 32, 3))
    digits = data.load({"name": "digits"}, kind="reconstruction", split=data.SplitSpec())
    yield of_dataset(digits, tasks.REGISTRY["reconstruction"])
    diabetes = data.load({"name": "diabetes"}, kind="regression", split=data.SplitSpec())
    yield of_dataset(diabetes, tasks.REGISTRY["regression"])


def _digits(shape: Shape, what: str) -> Examples:
    train = _loaded().train
    inputs = train.inputs.reshape(len(train.inputs), *shape)
    task = tasks.REGISTRY["classification"]
    text = f"digits as {what}"
    return _examples(text, "digits", task, _loaded().outputs, Split(inputs, train.targets))


@functools.cache
def _loaded() -> Dataset:
    return data.load({"name": "digits"}, kind="classification", split=data.SplitSpec())


def _task(name: str) -> Task:
    learnt = {key: task for key, task in tasks.REGISTRY.items() if task.kind != "test_function"}
    if name not in learnt:
        raise ConfigError(f"task {name!r} must be one of {', '.join(learnt)}")
    return learnt[name]


def _examples(text: str, where: str, task: Task, outputs: int, train: Split) -> Examples:
    first, second = (
        Split(*(np.take(part, rows, axis=0, mode="wrap") for part in train))
        for rows in (np.arange(COUNT), np.arange(COUNT, 2 * COUNT))
    )
    sizes = ", ".join(map(str, first.inputs.shape[1:]))
    return Examples(f"{text} [{sizes}]", where, task, outputs, first, second)
