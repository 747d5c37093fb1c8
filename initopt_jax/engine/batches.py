"""Which examples a step sees: a function of data seed, step and batch size, and of nothing else.

The order is drawn on the host by a counter-based generator, not by `jax.random`: it then costs no
compilation, and is the same on every platform, so that a lane on a GPU sees the batches that it saw
on a CPU. Philox's raw output is fixed by its definition; sorting it gives a permutation.
"""

from collections.abc import Callable

import numpy as np

from initopt_jax.keys import stable_hash


def epoch_orders(data_seed: int, first: int, epochs: int, examples: int) -> np.ndarray:
    """The permutations of consecutive epochs: int32 [epochs, examples], uniform over all orders.

    Epoch e takes the draws from counter e * ceil(examples / 4) on; each counter gives four.
    """
    blocks = -(-examples // 4)
    key = np.array([stable_hash("data"), data_seed], dtype=np.uint64)
    generator = np.random.Philox(key=key).advance(first * blocks)
    drawn = generator.random_raw(epochs * blocks * 4).reshape(epochs, blocks * 4)[:, :examples]
    # The low bits of each draw give way to its number: no two are equal, so that every sorting
    # algorithm agrees, and a plain sort (faster than an argsort) carries the numbers along.
    mask = np.uint64((1 << (examples - 1).bit_length()) - 1)
    numbered = (drawn & ~mask) | np.arange(examples, dtype=np.uint64)
    return (np.sort(numbered, axis=1) & mask).astype(np.int32)


def batch_indices(
    data_seed: int,
    first_step: int,
    steps: int,
    examples: int,
    batch_size: int,
    orders_of: Callable[[int, int, int, int], np.ndarray] = epoch_orders,
) -> np.ndarray:
    """Example numbers of consecutive steps: int32 [steps, batch_size].

    Each epoch visits `examples // batch_size` full batches of a fresh permutation; the remainder is
    left out of that epoch. `orders_of` is `epoch_orders`, or one that remembers what it gave.

    >>> batch_indices(0, 3, 2, examples=8, batch_size=4).shape
    (2, 4)
    """
    per_epoch = examples // batch_size
    first, last = first_step // per_epoch, (first_step + steps - 1) // per_epoch
    orders = orders_of(data_seed, first, last - first + 1, examples)
    batches = orders[:, : per_epoch * batch_size].reshape(-1, batch_size)
    skipped = first_step - first * per_epoch
    return batches[skipped : skipped + steps]


def tile_indices(
    data_seeds: np.ndarray, first_step: int, steps: int, examples: int, batch_size: int
) -> np.ndarray:
    """`batch_indices` for the W lanes of a tile: int32 [steps, W, batch_size]."""
    distinct, lane_of = np.unique(data_seeds, return_inverse=True)
    drawn = np.stack(
        [batch_indices(int(seed), first_step, steps, examples, batch_size) for seed in distinct], 1
    )
    return drawn[:, lane_of]
