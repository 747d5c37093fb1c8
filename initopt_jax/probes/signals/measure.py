"""Sizes of signals and gradients, kernel by kernel, on a batch."""

import jax
import jax.numpy as jnp

from initopt_jax.initializers import Network
from initopt_jax.networks.recorder import TAP, Record, record
from initopt_jax.networks.tap import root_of_mean
from initopt_jax.norms import norm_in, rescaled, scale_of
from initopt_jax.probes.probe import Batch
from initopt_jax.types import Array, PyTree

SATURATED = 0.05  # of the layer's steepest slope
OUTPUTS = (
    "preactivation_variance",
    "activation_mean",
    "activation_variance",
    "activation_kurtosis",
    "saturated_share",
    "dead_units",
    "input_correlation",
    "backward_norm",
)


def signals(params: PyTree, batch: Batch, network: Network) -> dict[str, Array]:
    """How large signals and gradients are at every kernel, forward and backward in one pass.

    With pre-activations `h` [examples, places, units] and activations `a = f(h)` of a kernel, as
    `recorder.record` finds them; a mean is over all three axes unless it says otherwise.

    - `preactivation_variance`: `q = mean h^2`, the second moment, as in mean-field theory.
    - `activation_mean`, `activation_variance`, and `activation_kurtosis`, `E (a - m)^4 / var^2`
      (3 for a normal distribution).
    - `saturated_share`: the share with `|f'(h)| < 0.05 max |f'|`, the maximum over the whole layer;
      with relu it is the inactive share. 1 where every slope is 0.
    - `dead_units`: the share of units with `f'(h) = 0` at every example and place.
    - `input_correlation`: `<h(x), h(x')> / (|h(x)| |h(x')|)` of two different examples, over
      places and units; the mean over all pairs.
    - `backward_norm`: `sqrt(mean (d loss_i / d h)^2)`, the gradient of an example's own loss.

    Args:
        params: of the network.
        batch: inputs [n, ...] and targets, n at least 2. Where an axis of the inputs is as long as
            the batch, the last example is left out, so that the two cannot be mistaken.
        network: of the weights; measured by its `plain` form and its loss.

    Returns:
        [kernel] each, in the order of `network.anatomy.kernels`; NaN where a kernel cannot be
        measured, and `input_correlation` where a signal is exactly 0. float32, or float64 for
        float64 weights.

    Reference:
        Poole et al. (2016), eq. 3 and 5; Glorot and Bengio (2010), section 4 (saturation and
        gradients through depth).

    >>> from initopt_jax.initializers import make_network
    >>> x, y, params = jnp.ones((4, 3)), jnp.zeros((4, 2)), {"w": 2 * jnp.ones((3, 2))}
    >>> def square(outputs, targets):
    ...     return 0.5 * ((outputs - targets) ** 2).sum(axis=1)
    >>> network = make_network(lambda p, x: x @ p["w"], square, params, x, y)
    >>> found = signals(params, Batch(x, y), network)
    >>> [found[name].tolist() for name in ("preactivation_variance", "backward_norm")]
    [[36.0], [6.0]]
    """
    inputs, targets = batch.inputs, batch.targets
    if inputs.shape[0] in inputs.shape[1:] and inputs.shape[0] > 2:
        inputs, targets = inputs[:-1], targets[:-1]
    wide = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
    paths = [kernel.path for kernel in network.anatomy.kernels]
    stages: dict[str, int] = {}

    def loss_of(taps: dict[str, Array]) -> tuple[Array, dict[str, Record]]:
        outputs, records, found = record(network.plain, params, inputs, taps=taps)
        stages.update(found)
        return network.loss(outputs, targets).sum(), records

    taps = {path: jnp.zeros(TAP, wide) for path in paths}
    squares, records = jax.grad(loss_of, has_aux=True)(taps)
    rows = []
    for path in paths:
        if path not in records:
            rows.append(dict.fromkeys(OUTPUTS, jnp.full((), jnp.nan, wide)))
            continue
        row = _sizes(Record(*(part.astype(wide) for part in records[path])))
        size = records[path].preactivations.size
        row["backward_norm"] = root_of_mean(squares[path][stages[path]], size)
        rows.append(row)
    if not rows:
        return {name: jnp.zeros(0, wide) for name in OUTPUTS}
    return {name: jnp.stack([row[name] for row in rows]) for name in OUTPUTS}


def _sizes(found: Record) -> dict[str, Array]:
    """The numbers of one kernel, without gradients."""
    before, after = found.preactivations, found.activations
    slopes = jnp.abs(found.slopes)
    mean, variance = jnp.mean(after), jnp.var(after)
    scaled, _ = rescaled(after)  # the kurtosis does not feel the size
    apart = jnp.square(scaled - jnp.mean(scaled))
    # A comparison with a bad number is no bad number: it must not look unsaturated.
    good = jnp.all(jnp.isfinite(slopes) & jnp.isfinite(after))
    bad = jnp.where(good, 0.0, jnp.nan).astype(slopes.dtype)
    steepest = jnp.max(slopes)
    flat = (slopes < SATURATED * steepest) | (steepest == 0)
    return {
        "preactivation_variance": jnp.mean(jnp.square(before)),
        "activation_mean": mean,
        "activation_variance": variance,
        "activation_kurtosis": jnp.mean((apart / jnp.var(scaled)) ** 2),
        "saturated_share": jnp.mean(flat.astype(slopes.dtype)) + bad,
        "dead_units": jnp.mean(jnp.all(slopes == 0, axis=(0, 1)).astype(slopes.dtype)) + bad,
        "input_correlation": _correlation(before),
    }


def _correlation(before: Array) -> Array:
    """The mean cosine between different examples."""
    examples = before.shape[0]
    if examples < 2:
        return jnp.full((), jnp.nan, before.dtype)
    flat = before.reshape(examples, -1)
    scale = scale_of(flat, axis=1)  # tiny signals have squares of 0
    directions = flat / scale / norm_in(scale, flat, axis=1)
    total = jnp.sum(jnp.square(jnp.sum(directions, axis=0)))
    return (total - examples) / (examples * (examples - 1))
