"""Synthetic data from a random teacher network, with a known floor under the loss."""

import numpy as np

from initopt_jax.data.finish import finish
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.data.split import require_integer, require_number
from initopt_jax.data.streams import require_room
from initopt_jax.errors import ConfigError
from initopt_jax.types import Dataset


def load_teacher(
    request: Request,
    *,
    samples: int = 1000,
    features: int = 8,
    hidden: int = 16,
    noise: float = 0.1,
    classes: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Targets `y = V tanh(W x + b) + noise * e` of a random network; classes are `argmax y`.

    `x`, `b` and `e` are standard normal; `W ~ N(0, 1/features)` and `V ~ N(0, 1/hidden)`, so that
    `y` is of order 1. Teacher, inputs and noise have streams of their own: another number of
    samples keeps the teacher.

    Args:
        request: name, kind, split and the common options.
        samples: number of examples, at least 1.
        features: inputs of the teacher, at least 1.
        hidden: width of the teacher's one hidden layer, at least 1.
        noise: standard deviation added to the teacher's outputs, at least 0.
        classes: number of classes, at least 2, for classification; leave out for regression.
        seed: of teacher, inputs and noise, at least 0.

    Returns:
        The data set; inputs [N, features], targets [N, 1] or labels [N].

    Raises:
        ConfigError: an option is out of range, or `classes` does not fit the kind.

    Reference: Saad & Solla 1995, On-line learning in soft committee machines, Physical Review E 52
        (the student-teacher setting). Deviations: tanh for erf, drawn output weights, biases.

    >>> from initopt_jax.data.split import SplitSpec
    >>> teacher = load_teacher(Request("teacher", "regression", SplitSpec()), samples=50)
    >>> teacher.train.inputs.shape, teacher.outputs
    ((30, 8), 1)
    """
    for name, value in (("samples", samples), ("features", features), ("hidden", hidden)):
        require_integer(name, value, least=1)
    require_integer("seed", seed, least=0)
    require_number("noise", noise, least=0)
    if request.kind == "classification":
        if classes is None:
            raise ConfigError("data set teacher needs the option classes for classification")
        require_integer("classes", classes, least=2)
    elif classes is not None:
        raise ConfigError(f"classes is only for classification, got {classes!r} for regression")

    numbers = features + hidden + (classes or 1)
    require_room(samples, numbers)
    require_room(hidden, numbers, "hidden units")
    inputs, values = _draw(samples, features, hidden, classes or 1, float(noise), seed)
    targets = values if classes is None else np.argmax(values, axis=1)
    return finish(request, inputs, targets, outputs=classes)


def _draw(
    samples: int, features: int, hidden: int, outputs: int, noise: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs [N, D] and noisy teacher outputs [N, K], both float64."""
    weights, examples, errors = (np.random.default_rng([seed, stream]) for stream in range(3))
    first = weights.normal(size=(features, hidden)) / np.sqrt(features)
    bias = weights.normal(size=hidden)
    second = weights.normal(size=(hidden, outputs)) / np.sqrt(hidden)
    inputs = examples.normal(size=(samples, features))
    # einsum, not matmul: its sums do not depend on the threads of a BLAS library.
    activations = np.tanh(np.einsum("nd,dh->nh", inputs, first) + bias)
    clean = np.einsum("nh,hk->nk", activations, second)
    return inputs, clean + noise * errors.normal(size=clean.shape)


ENTRY = DatasetSource(
    name="teacher",
    load=load_teacher,
    kinds=("regression", "classification"),
    description="outputs of a random tanh network plus noise; classes by argmax with `classes: K`",
    reference="Saad & Solla 1995, On-line learning in soft committee machines",
)
