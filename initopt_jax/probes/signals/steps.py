"""Signals and gradients along the steps of a recurrent network."""

import jax
import jax.numpy as jnp

from initopt_jax.initializers import Network
from initopt_jax.networks.recorder import TAP, record
from initopt_jax.networks.tap import root_of_mean
from initopt_jax.probes.probe import Batch
from initopt_jax.types import Array, PyTree

OUTPUTS = ("step_preactivation_variance", "step_backward_norm")


def recurrent_kernels(network: Network) -> tuple[str, ...]:
    """Paths of the kernels that see what they made a round of a loop before."""
    return tuple(one.path for one in network.anatomy.kernels if one.path in one.upstream)


def step_signals(params: PyTree, batch: Batch, network: Network) -> dict[str, Array]:
    """How large signals and gradients are at every step of a recurrent network.

    Over the recurrent kernels together (all gates of all layers), their units and the examples:
    `step_preactivation_variance`, `mean h_t^2`, and `step_backward_norm`,
    `sqrt(mean (d loss_i / d h_t)^2)`, where `loss_i` is an example's own loss. Where the second
    falls towards the first step, the network learns nothing from what it saw early.

    Args:
        params: of the network.
        batch: inputs [n, ...] and targets, n at least 2.
        network: of the weights; its recurrent kernels must run over equally many steps, in loops of
            their own.

    Returns:
        [steps] each; [0] where the network has no recurrent kernel.

    Raises:
        ValueError: if recurrent kernels run over different numbers of steps.

    Reference:
        Bengio, Simard and Frasconi (1994), Learning long-term dependencies with gradient descent is
        difficult, section IV; Pascanu, Mikolov and Bengio (2013), On the difficulty of training
        recurrent neural networks, section 2.

    >>> from initopt_jax.initializers import make_network
    >>> params = {"w": 0.5 * jnp.ones((1, 1))}
    >>> def apply(params, x):
    ...     def step(h, seen):
    ...         return seen[:, None] + h @ params["w"], None
    ...
    ...     return jax.lax.scan(step, jnp.zeros((len(x), 1)), x.T)[0]
    >>> x = jnp.ones((2, 4))
    >>> network = make_network(apply, lambda z, y: z[:, 0], params, x, x)
    >>> step_signals(params, Batch(x, x), network)["step_backward_norm"].tolist()
    [0.125, 0.25, 0.5, 1.0]
    """
    wide = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
    paths = recurrent_kernels(network)
    known = jax.eval_shape(lambda: record(network.plain, params, batch.inputs)[1])
    paths = tuple(path for path in paths if path in known)
    if not paths:
        return dict.fromkeys(OUTPUTS, jnp.zeros(0, wide))
    lengths = {known[path].preactivations.shape[1] for path in paths}
    if len(lengths) > 1:
        raise ValueError(f"recurrent kernels must run over equally many steps, got {lengths}")
    (steps,) = lengths
    stages: dict[str, int] = {}

    def loss_of(taps: dict[str, Array]) -> tuple[Array, list[Array]]:
        outputs, records, found = record(network.plain, params, batch.inputs, taps=taps)
        stages.update(found)
        sizes = [jnp.sum(jnp.square(records[path].preactivations), axis=(0, 2)) for path in paths]
        return network.loss(outputs, batch.targets).sum(), sizes

    taps = {path: jnp.zeros((steps, *TAP), wide) for path in paths}
    squares, sizes = jax.grad(loss_of, has_aux=True)(taps)
    count = sum(known[path].preactivations.size for path in paths) / steps
    total = sum(squares[path][:, stages[path]] for path in paths)
    return {
        "step_preactivation_variance": jnp.sum(jnp.stack(sizes), axis=0).astype(wide) / count,
        "step_backward_norm": root_of_mean(jnp.asarray(total), count),
    }
