"""The usual JAX loop: one call of a jitted, donating step per batch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.pace import Timed, index_batches, paced
from benchmarks.workloads import Case

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}
Layers = list[tuple[jax.Array, jax.Array]]


def mlp_params(widths: list[int], seed: int) -> Layers:
    keys = jax.random.split(jax.random.key(seed), len(widths) - 1)
    draw = jax.nn.initializers.glorot_uniform()
    return [
        (draw(key, (fan_in, fan_out)), jnp.zeros(fan_out))
        for key, fan_in, fan_out in zip(keys, widths[:-1], widths[1:], strict=True)
    ]


def make_cost(workload: Case) -> Any:
    """Mean cross-entropy of an MLP; parameters are float32, the computation is as asked for."""
    activation = ACTIVATIONS[workload.model["activation"]]
    dtype = jnp.dtype(workload.dtype)

    def cost(params: Layers, inputs: jax.Array, targets: jax.Array) -> jax.Array:
        values = inputs.astype(dtype)
        for index, (kernel, bias) in enumerate(params):
            values = activation(values) if index else values
            values = values @ kernel.astype(dtype) + bias.astype(dtype)[None]
        losses = optax.softmax_cross_entropy_with_integer_labels(
            values.astype(jnp.float32), targets
        )
        return jnp.mean(losses)

    return cost


def make_optimizer(workload: Case) -> optax.GradientTransformation:
    options = dict(workload.optimizer)
    if options.pop("name") == "adam":
        return optax.adam(**options)
    return optax.sgd(options["learning_rate"], momentum=options["decay"])


def make_jax_loop(workload: Case, *, on_device: bool) -> Timed:
    """A loop over an MLP's batches.

    The batch is cut on the host, or, with `on_device`, inside the step from data that lie there.
    """
    optimizer = make_optimizer(workload)
    cost = make_cost(workload)

    def step(params: Any, state: Any, inputs: Any, targets: Any) -> tuple[Any, Any, jax.Array]:
        loss, grads = jax.value_and_grad(cost)(params, inputs, targets)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    def step_on_rows(
        params: Any, state: Any, inputs: Any, targets: Any, rows: Any
    ) -> tuple[Any, Any, jax.Array]:
        return step(params, state, inputs[rows], targets[rows])

    jitted = jax.jit(step_on_rows if on_device else step, donate_argnums=(0, 1))

    def timed(seconds: float) -> float:
        inputs, targets = workload.arrays()
        widths = [inputs.shape[1], *workload.model["hidden"], 10]
        batches = index_batches(len(inputs), workload.batch, seed=0)
        if on_device:
            inputs, targets = jnp.asarray(inputs), jnp.asarray(targets)
        params = mlp_params(widths, seed=0)
        held = (params, optimizer.init(params))

        def once() -> None:
            nonlocal held
            rows = next(batches).astype(np.int32)
            batch = (inputs, targets, rows) if on_device else (inputs[rows], targets[rows])
            held = jitted(*held, *batch)[:2]

        with jax.default_matmul_precision("highest"):  # as the engine: float32 means float32
            return paced(once, lambda: jax.block_until_ready(held), seconds)

    return timed
