"""How long curvature takes: the sharpness of 100 digits networks 64-64-64-10, on all devices.

Command:  make bench-curvature    (or: python -m benchmarks.curvature --lanes 100 --rounds 3)

Lanes are measured as a study does it, in tiles, a thread per device, over the whole training split
(1,078 examples): at their first weights, and after full-batch gradient descent and Adam. Errors
are those of a tile against float64 with many more iterations. The goal is for the default number of
iterations, trained by gradient descent, compilation included.
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

from benchmarks.machine import OtherLoad, machine
from benchmarks.record import RESULTS, say_other_load, write_record
from initopt_jax import data, models
from initopt_jax.engine.devices import set_up_devices
from initopt_jax.initializers import glorot_uniform
from initopt_jax.precision import MATMUL_PRECISION, in_precision
from initopt_jax.probes import Batch
from initopt_jax.probes.curvature.hessian import hessian_top
from initopt_jax.probes.curvature.sharpness import ITERATIONS
from initopt_jax.tasks import REGISTRY as TASKS
from initopt_jax.types import PyTree

GOAL_SECONDS, GOAL_ERROR = 10.0, 0.01
HIDDEN, STEPS = (64, 64), 300
TRAINED: dict[str, optax.GradientTransformation | None] = {
    "first weights": None,
    "gradient descent": optax.sgd(0.5),
    "adam": optax.adam(0.001),
}
JUDGED = "gradient descent"
EXACT_ITERATIONS = 80
WIDTH = 16


@dataclass(frozen=True)
class Net:
    """The network on its data: the loss, the batch, and `(transform, keys) -> weights [W, ...]`."""

    loss: Callable[[PyTree, Batch], jax.Array]
    batch: Batch
    weights: Callable[[optax.GradientTransformation | None, jax.Array], PyTree]


def digits_net(examples: int | None = None) -> Net:
    """The digits network and the whole training split, or the first so many examples."""
    train = data.load({"name": "digits"}, kind="classification", split=data.SplitSpec()).train
    batch = Batch(*(jnp.asarray(array[:examples]) for array in train))
    model = models.REGISTRY["mlp"].make(outputs=10, hidden=HIDDEN, activation="tanh")
    task = TASKS["classification"]
    shapes = models.param_shapes(model, batch.inputs)

    def loss(params: PyTree, batch: Batch) -> jax.Array:
        outputs, _ = model.apply(params, {}, batch.inputs, train=True)
        return jnp.mean(task.loss(outputs, batch.targets))

    def start(key: jax.Array) -> PyTree:
        leaves, structure = jax.tree.flatten(shapes)
        keys = jax.random.split(key, len(leaves))
        drawn = [
            glorot_uniform(key, leaf.shape) if leaf.ndim > 1 else jnp.zeros(leaf.shape)
            for key, leaf in zip(keys, leaves, strict=True)
        ]
        return jax.tree.unflatten(structure, drawn)

    def weights(transform: optax.GradientTransformation | None, keys: jax.Array) -> PyTree:
        def lane(key: jax.Array) -> PyTree:
            params = start(key)
            if transform is None:
                return params

            def step(_: Any, carry: tuple[PyTree, Any]) -> tuple[PyTree, Any]:
                params, state = carry
                grads = jax.grad(loss)(params, batch)
                updates, state = transform.update(grads, state, params)
                return optax.apply_updates(params, updates), state

            return jax.lax.fori_loop(0, STEPS, step, (params, transform.init(params)))[0]

        return jax.jit(jax.vmap(lane))(keys)

    return Net(loss, batch, weights)


def largest(net: Net, iterations: int) -> Callable[[PyTree, Batch, jax.Array], jax.Array]:
    """`(weights [W, ...], batch, keys [W]) -> eigenvalues [W]`, to be compiled."""

    def lane(params: PyTree, batch: Batch, key: jax.Array) -> jax.Array:
        return hessian_top(net.loss, params, batch, key, k=1, iterations=iterations)[0]

    return jax.jit(jax.vmap(lane, in_axes=(0, None, 0)))


def exact(net: Net, weights: PyTree, keys: jax.Array, iterations: int) -> np.ndarray:
    """The same in float64; the model computes in the dtype of its weights and inputs."""
    with in_precision("float64"):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), weights)
        examples = Batch(jnp.asarray(net.batch.inputs, jnp.float64), net.batch.targets)
        return np.asarray(largest(wide_net(net), iterations)(wide, examples, keys))


def wide_net(net: Net) -> Net:
    """The same layers in float64."""
    model = models.REGISTRY["mlp"].make(
        outputs=10, hidden=HIDDEN, activation="tanh", dtype="float64"
    )

    def loss(params: PyTree, batch: Batch) -> jax.Array:
        outputs, _ = model.apply(params, {}, batch.inputs, train=True)
        return jnp.mean(TASKS["classification"].loss(outputs, batch.targets))

    return Net(loss, net.batch, net.weights)


def seconds_of(
    net: Net, weights: PyTree, keys: jax.Array, iterations: int, lanes: int, rounds: int
) -> dict[str, Any]:
    """Seconds for so many lanes, in tiles: of the first time, which compiles, and of later ones.

    Those of the processor (`cpu`) tell what it would be on a machine that is not shared: they are
    spread over the devices.
    """
    devices, width = jax.local_devices(), len(keys)
    placed = [jax.device_put((weights, net.batch, keys), device) for device in devices]
    tiles = -(-lanes // width)

    def all_tiles(measure: Callable[..., jax.Array]) -> tuple[float, float]:
        def work(number: int) -> None:
            with jax.default_matmul_precision(MATMUL_PRECISION):
                for _ in range(number, tiles, len(devices)):
                    jax.block_until_ready(measure(*placed[number]))

        began, used = time.perf_counter(), time.process_time()
        threads = [threading.Thread(target=work, args=(n,)) for n in range(len(devices))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - began, time.process_time() - used

    measure = largest(net, iterations)
    first, first_cpu = all_tiles(measure)
    later, later_cpu = zip(*(all_tiles(measure) for _ in range(rounds)), strict=True)
    cpu = {"first_cpu": first_cpu, "later_cpu": list(later_cpu)}
    return {"first": first, "later": list(later), **cpu}


def measure(
    trained: Sequence[str],
    iterations: Sequence[int],
    lanes: int,
    width: int,
    rounds: int,
    net: Net,
    exact_iterations: int,
) -> Iterator[dict[str, Any]]:
    """A row per way of training and number of iterations."""
    keys = jax.random.split(jax.random.key(1), width)
    for name in trained:
        weights = net.weights(TRAINED[name], jax.random.split(jax.random.key(0), width))
        reference = exact(net, weights, keys, exact_iterations)
        for count in iterations:
            found = np.asarray(largest(net, count)(weights, net.batch, keys), np.float64)
            jax.clear_caches()  # what follows compiles, as in a study that measures this first
            yield {
                "weights": name,
                "iterations": count,
                "largest_error": float(np.max(np.abs(found / reference - 1))),
                "mean_sharpness": float(reference.mean()),
                **seconds_of(net, weights, keys, count, lanes, rounds),
            }


@contextmanager
def compiling_anew() -> Iterator[None]:
    """Within the block no compiled program comes from disk."""
    name = "jax_enable_compilation_cache"
    before = jax.config.values[name]
    jax.config.update(name, False)
    try:
        yield
    finally:
        jax.config.update(name, before)


def show(rows: Sequence[dict[str, Any]], lanes: int, console: Console) -> None:
    table = Table(title=f"Sharpness of {lanes} digits networks, 1,078 examples")
    for heading in ("weights", "iterations", "with compiling", "without", "largest error"):
        table.add_column(heading, justify="left" if heading == "weights" else "right")
    for row in rows:
        table.add_row(
            row["weights"],
            str(row["iterations"]),
            f"{row['first']:.1f} s",
            f"{min(row['later']):.1f} s",
            f"{row['largest_error']:.1e}",
        )
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=[*TRAINED], default=[*TRAINED])
    parser.add_argument("--lanes", type=int, default=100)
    parser.add_argument("--width", type=int, default=WIDTH, help="lanes of a tile")
    parser.add_argument("--rounds", type=int, default=3, help="after the first, which compiles")
    parser.add_argument("--iterations", type=int, nargs="*", default=[5, 8, 10, 15, ITERATIONS])
    parser.add_argument("--exact-iterations", type=int, default=EXACT_ITERATIONS)
    parser.add_argument("--examples", type=int, help="of the training split; all by default")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a goal is missed")
    options = parser.parse_args(arguments)
    if min(options.lanes, options.width, options.rounds, *options.iterations) <= 0:
        parser.error("all numbers must be positive")
    console = Console()
    devices = set_up_devices()
    others = OtherLoad()
    rows: list[dict[str, Any]] = []
    with in_precision("float32"), compiling_anew():
        for row in measure(
            options.only, options.iterations, options.lanes, options.width, options.rounds,
            digits_net(options.examples), options.exact_iterations,
        ):  # fmt: skip
            rows.append(row)
            console.print(
                f"{row['weights']}, {row['iterations']} iterations: {row['first']:.1f} s with "
                f"compiling ({row['first_cpu']:.1f} s of processors), {min(row['later']):.1f} s "
                f"without ({min(row['later_cpu']):.1f} s), error {row['largest_error']:.1e}"
            )
    show(rows, options.lanes, console)
    taken = others.cores()
    say_other_load(taken, console)
    record = {
        "machine": machine(),
        "devices": len(devices),
        "lanes": options.lanes,
        "width": options.width,
        "goal_seconds": GOAL_SECONDS,
        "goal_error": GOAL_ERROR,
        "cores_busy_with_other_processes": taken,
        "rows": rows,
    }
    console.print(str(write_record("curvature", record, options.out)), soft_wrap=True)
    judged = [row for row in rows if row["weights"] == JUDGED and row["iterations"] == ITERATIONS]
    missed = [
        row for row in judged if row["first"] >= GOAL_SECONDS or row["largest_error"] >= GOAL_ERROR
    ]
    return int(options.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
