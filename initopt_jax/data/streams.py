"""Random streams of generated sets: one for each thing that is drawn."""

from typing import Any

import numpy as np

from initopt_jax.data.split import require_integer, require_number
from initopt_jax.memory import require_memory

COPIES = 4  # of float64: what is drawn, noise, what is made of both, and float32 parts twice


def streams(
    count: int, *, samples: Any, numbers: int, seed: Any, noise: Any = 0.0
) -> tuple[np.random.Generator, ...]:
    """Independent generators of one seed, after a check of the options that generated sets share.

    What depends on the number of samples has a stream to itself, so that another number keeps all
    else, and more samples begin with the fewer.

    Args:
        count: how many generators.
        samples: number of examples, at least 1.
        numbers: of one example, inputs and targets.
        seed: at least 0.
        noise: a standard deviation, at least 0.

    Raises:
        ConfigError: an option is out of range, or the examples do not fit in memory.

    >>> few, again = (streams(2, samples=n, numbers=1, seed=3)[1].normal(size=n) for n in (5, 9))
    >>> bool((few == again[:5]).all())
    True
    """
    require_integer("samples", samples, least=1)
    require_number("noise", noise, least=0)
    require_integer("seed", seed, least=0)
    require_room(samples, numbers)
    return tuple(np.random.default_rng([seed, stream]) for stream in range(count))


def require_room(samples: int, numbers: int, name: str = "samples") -> None:
    """Refuse examples of so many numbers that do not fit in memory, before they are drawn.

    Args:
        samples: how many.
        numbers: of each.
        name: of the option that says how many.
    """
    require_memory(
        COPIES * 8 * samples * numbers,
        f"a data set of {samples:,} {name} with {numbers:,} numbers each",
        f"lower {name}, or the size of one",
    )
