"""Sequences that ask for memory: the adding and the copying problem, inputs [N, T, features]."""

import numpy as np

from initopt_jax.data.finish import finish
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.data.split import require_integer
from initopt_jax.data.streams import require_room, streams
from initopt_jax.types import Dataset


def load_adding(
    request: Request, *, samples: int = 1000, length: int = 50, seed: int = 0
) -> Dataset:
    """Two of T numbers are marked; the target is their sum.

    Feature 0 is uniform in [0, 1]; feature 1 is 1 at two steps and 0 elsewhere: one of the first
    `floor(T/2)` steps, and one of the others, both uniform. Always answering 1 has a mean squared
    error of 1/6. Numbers and marks have streams of their own.

    Args:
        request: name, kind, split and the common options; `normalize` is false by default.
        samples: number of sequences, at least 1.
        length: T, at least 2.
        seed: at least 0.

    Returns:
        The data set; inputs [N, T, 2], targets [N, 1].

    Raises:
        ConfigError: an option is out of range.

    Reference: Hochreiter & Schmidhuber 1997, Long short-term memory, section 5.4. Deviations: one
        length, numbers in [0, 1] and the plain sum, as in Arjovsky, Shah & Bengio 2016, Unitary
        evolution recurrent neural networks (the adding problem).

    >>> from initopt_jax.data.split import SplitSpec
    >>> adding = load_adding(Request("adding", "regression", SplitSpec()), length=10)
    >>> adding.train.inputs.shape, adding.train.targets.shape
    ((600, 10, 2), (600, 1))
    """
    require_integer("length", length, least=2)
    numbers, early, late = streams(3, samples=samples, numbers=2 * length, seed=seed)
    values = numbers.uniform(size=(samples, length))
    half = length // 2
    marked = np.stack(
        [early.integers(0, half, size=samples), late.integers(half, length, size=samples)], axis=1
    )
    inputs = np.zeros((samples, length, 2))
    inputs[..., 0] = values
    np.put_along_axis(inputs[..., 1], marked, 1.0, axis=1)
    return finish(request, inputs, np.take_along_axis(values, marked, axis=1).sum(axis=1))


def load_copying(
    request: Request,
    *,
    samples: int = 1000,
    symbols: int = 8,
    memory: int = 10,
    delay: int = 40,
    seed: int = 0,
) -> Dataset:
    """Symbols, then a delay, then the question which symbol stood at one place.

    The first `memory` steps each show one of K symbols (one-hot in the first K features), the next
    `delay` steps nothing, and the last step a place (one-hot in the other `memory` features). The
    label is the symbol that stood there; guessing is right in 1 of K cases. Symbols and places are
    uniform and have streams of their own.

    Args:
        request: name, kind, split and the common options; `normalize` is false by default.
        samples: number of sequences, at least 1.
        symbols: K, at least 2.
        memory: symbols to remember, at least 1.
        delay: empty steps, at least 0.
        seed: at least 0.

    Returns:
        The data set; inputs [N, memory + delay + 1, symbols + memory].

    Raises:
        ConfigError: an option is out of range.

    Reference: Hochreiter & Schmidhuber 1997, Long short-term memory; in the form of Arjovsky, Shah
        & Bengio 2016, Unitary evolution recurrent neural networks (the copying memory problem).
        Deviation: one symbol is asked for, not all in turn, so that a sequence has one answer.

    >>> from initopt_jax.data.split import SplitSpec
    >>> copying = load_copying(Request("copying", "classification", SplitSpec()), delay=4)
    >>> copying.train.inputs.shape, copying.outputs
    ((600, 15, 18), 8)
    """
    require_integer("symbols", symbols, least=2)
    require_integer("memory", memory, least=1)
    require_integer("delay", delay, least=0)
    numbers = (memory + delay + 1) * (symbols + memory)
    told, asked = streams(2, samples=samples, numbers=numbers, seed=seed)
    require_room(symbols, symbols, "symbols")
    shown = told.integers(0, symbols, size=(samples, memory))
    place = asked.integers(0, memory, size=samples)
    inputs = np.zeros((samples, memory + delay + 1, symbols + memory), np.float32)
    inputs[:, :memory, :symbols] = np.eye(symbols)[shown]
    inputs[:, -1, symbols:] = np.eye(memory)[place]
    labels = shown[np.arange(samples), place]
    return finish(request, inputs, labels, outputs=symbols)


ENTRIES = (
    DatasetSource(
        name="adding",
        load=load_adding,
        kinds=("regression",),
        description="the sum of two marked numbers of a sequence; `samples`, `length`, `seed`",
        reference="Hochreiter & Schmidhuber 1997, Long short-term memory, 5.4",
        normalize=False,
    ),
    DatasetSource(
        name="copying",
        load=load_copying,
        kinds=("classification",),
        description="which symbol stood at a place, long ago; `samples`, `symbols`, `memory`, "
        "`delay`, `seed`",
        reference="Arjovsky, Shah & Bengio 2016, Unitary evolution recurrent neural networks",
        normalize=False,
    ),
)
