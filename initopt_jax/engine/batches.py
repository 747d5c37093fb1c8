"""Which examples a step sees: a function of data seed, step and batch size, and of nothing else.

The order is drawn on the host by a counter-based generator, not by `jax.random`: it then costs no
compilation, and is the same on every platform, so that a lane on a GPU sees the batches that it saw
on a CPU. Philox's raw output is fixed by its definition; sorting it gives a permutation.
"""

import functools

import numpy as np

from initopt_jax.keys import stable_hash


@functools.lru_cache(maxsize=64)
def epoch_order(data_seed: int, epoch: int, examples: int) -> np.ndarray:
    """The permutation of one epoch: int32 [examples], uniform over all orders."""
    key = np.array([stable_hash("data"), data_seed], dtype=np.uint64)
    drawn = np.random.Philox(key=key, counter=[0, epoch, 0, 0]).random_raw(examples)
    # The low bits of each draw give way to its number: no two are equal, so that every sorting
    # algorithm agrees, and a plain sort (faster than an argsort) carries the numbers along.
    mask = np.uint64((1 << (examples - 1).bit_length()) - 1)
    order = np.sort((drawn & ~mask) | np.arange(examples, dtype=np.uint64)) & mask
    order = order.astype(np.int32)
    order.flags.writeable = False
    return order


def batch_indices(
    data_seed: int, first_step: int, steps: int, examples: int, batch_size: int
) -> np.ndarray:
    """Example numbers of consecutive steps: int32 [steps, batch_size].

    Each epoch visits `examples // batch_size` full batches of a fresh permutation; the remainder is
    left out of that epoch.

    >>> batch_indices(0, 3, 2, examples=8, batch_size=4).shape
    (2, 4)
    """
    per_epoch = examples // batch_size
    wanted = np.arange(first_step, first_step + steps)
    rows = []
    for epoch in range(wanted[0] // per_epoch, wanted[-1] // per_epoch + 1):
        order = epoch_order(data_seed, epoch, examples)[: per_epoch * batch_size]
        here = wanted[wanted // per_epoch == epoch] % per_epoch
        rows.append(order.reshape(per_epoch, batch_size)[here])
    return np.concatenate(rows)


def tile_indices(
    data_seeds: np.ndarray, first_step: int, steps: int, examples: int, batch_size: int
) -> np.ndarray:
    """`batch_indices` for the W lanes of a tile: int32 [steps, W, batch_size]."""
    distinct, lane_of = np.unique(data_seeds, return_inverse=True)
    drawn = np.stack(
        [batch_indices(int(seed), first_step, steps, examples, batch_size) for seed in distinct], 1
    )
    return drawn[:, lane_of]
