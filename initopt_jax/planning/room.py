"""Does a study fit in memory? Its networks and its records, asked before any is made."""

import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
import pandas as pd

from initopt_jax.config.schema import Config
from initopt_jax.engine.flops import tile_bytes
from initopt_jax.engine.keep import is_kept
from initopt_jax.engine.plan import Program
from initopt_jax.engine.records import Variable
from initopt_jax.engine.workload import Workload
from initopt_jax.memory import require_memory
from initopt_jax.precision import param_dtype
from initopt_jax.types import PyTree


def require_room_for_network(config: Config, params: PyTree, state: PyTree) -> None:
    """Refuse a model of which not one network fits: its weights, their gradients and a copy."""
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves((params, state)))
    name = config.model.name if config.model else config.task.name
    require_memory(
        3 * numbers * param_dtype().itemsize,
        f"one network of model {name!r}, {numbers:,} numbers,",
        "choose smaller sizes under model",
    )


def require_room_for_tiles(programs: Sequence[Program], workload: Workload) -> None:
    """Refuse an optimizer whose tiles do not fit: weights and accumulators before and after.

    On another device than a CPU its own memory counts, and is asked when a program is compiled.
    """
    for program in programs if jax.default_backend() == "cpu" else ():
        require_memory(
            2 * tile_bytes(program, workload),
            f"a tile of {counted(program.width, 'lane')} of optimizer {program.label!r}",
            "lower tile_width, or the optimizer's own sizes",
        )


def counted(number: int, noun: str) -> str:
    """A number of things in words.

    >>> counted(1, "lane"), counted(2000, "lane")
    ('1 lane', '2,000 lanes')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def require_room_for_records(
    programs: Sequence[Program],
    lanes: pd.DataFrame,
    recorded: Mapping[str, Variable],
    sizes: Mapping[str, int],
) -> None:
    """Refuse a study whose records do not fit: reports read them as a whole, states by tile."""
    every = np.array([program.eval_every for program in programs])[lanes["program"].to_numpy()]
    evals = int((lanes["steps"].to_numpy() // every).max()) + 1
    sizes = {**sizes, "lane": len(lanes), "eval": evals}
    kept, curves = 0, 0
    for name, variable in recorded.items():
        size = np.dtype(variable.dtype).itemsize * math.prod(sizes[d] for d in variable.dims)
        kept += size if is_kept(name) else 0
        curves += 0 if is_kept(name) else size
    width = max(program.width for program in programs)
    shape = f"{counted(len(lanes), 'lane')} with {counted(evals, 'evaluation')} each"
    # A report holds them up to three times; a tile in training twice, its padding included.
    held = curves / len(lanes) * max(3 * len(lanes), 2 * width)
    advice = "raise eval_every, lower seeds, or leave probes out"
    require_memory(held, f"storing the records of {shape}", advice)
    require_memory(
        kept / len(lanes) * width,
        f"the states that a tile of {width} lanes keeps",
        "keep fewer states, or raise eval_every",
    )
