"""How much the gradient of a mini-batch owes to the examples that happen to be in it."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from initopt_jax import checks
from initopt_jax.norms import scale_of, unit
from initopt_jax.probes.gradients.steps import Loss
from initopt_jax.probes.probe import Batch
from initopt_jax.types import Array, PyTree


def gradient_noise(
    loss: Loss, params: PyTree, batch: Batch, batch_size: int = 64, *, parts: int = 8
) -> dict[str, Array]:
    """The simple noise scale, and how gradients vary within and between mini-batches.

    The batch is cut into `K` mini-batches of `m` parts of `s` examples each, `n = s K m` in all.
    With `g_kp` the mean gradient of a part, `g_k` that of a mini-batch and `g` that of all:

    `SS_within = sum |g_kp - g_k|^2`, `SS_between = m sum |g_k - g|^2`,
    `gradient_variance = tr(Sigma) = s (SS_within + SS_between) / (K m - 1)`,
    `gradient_squared = |G|^2 = |g|^2 - tr(Sigma) / n`, `noise_scale = tr(Sigma) / |G|^2`,
    `between_share = SS_between / (SS_within + SS_between)`, `within_share = 1 - between_share`,
    `gradient_cosine` = the mean of `cos(g_k, g_l)` over pairs of mini-batches

    `Sigma` is the covariance of one example's gradient, and the noise scale the batch size from
    which on more examples hardly make the gradient better. For independent examples
    `between_share` is `(K - 1) / (K m - 1)` on average: a larger one says that mini-batches differ
    by more than chance.

    Args:
        loss: `(params, batch) -> scalar`, the mean over the examples.
        params: the weights that the gradient is taken at.
        batch: examples in random order, at least 4.
        batch_size: examples of a mini-batch, at least 2; static. `K` is how often it goes into the
            batch; where that is less than twice, there are two mini-batches of half of the batch.
        parts: `m`, at least 2, or the mini-batch's size where that is less; static.

    Returns:
        Scalars. `gradient_variance` and `gradient_squared` are unbiased for independent examples;
        average them over lanes or steps, if at all, before dividing. `noise_scale`, in examples:
        NaN where `gradient_squared` is not above 0, so that the noise hides the gradient. The
        shares are NaN where all parts agree, the cosine where a gradient is 0.

    Raises:
        ValueError: the batch has fewer than 4 examples, `batch_size` or `parts` is below 2.

    Reference:
        McCandlish, Kaplan, Amodei and the OpenAI Dota team (2018), An empirical model of
        large-batch training, eq. 2.9 and appendix A.1.

    Deviations:
        The paper estimates from two batch sizes; here the smaller one is the part and the larger
        one the whole batch, which makes of its estimators the ones above.

    >>> inputs = jnp.array([1.0, 3.0, 1.0, 3.0, 2.0, 4.0, 2.0, 4.0])
    >>> found = gradient_noise(
    ...     lambda w, batch: jnp.mean(batch.inputs) * w, jnp.array(0.0), Batch(inputs, inputs), 4
    ... )
    >>> {name: round(float(value), 3) for name, value in found.items() if name != "noise_scale"}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'gradient_variance': 1.429, 'gradient_squared': 6.071, 'between_share': 0.2,
     'within_share': 0.8, 'gradient_cosine': 1.0}
    """
    groups = _grouped(batch, batch_size, parts)
    many, each, size = groups.inputs.shape[:3]
    means, within, scales = jax.lax.map(lambda part: _mini_batch(loss, params, part), groups)
    # All squares are in units of `scale`^2, which may itself leave the range of the dtype.
    scale = jnp.max(scales)
    within, means = within * jnp.square(scales / scale), means / scale
    mean = jnp.mean(means, axis=0)
    inside, between = jnp.sum(within), each * jnp.sum(jnp.square(means - mean[None]))
    total = inside + between
    variance = size * total / (many * each - 1)
    squared = jnp.sum(jnp.square(mean)) - variance / (size * many * each)
    units = jax.vmap(unit)(means)
    # Precise products: on a GPU the default ones would leave errors of 1e-3.
    cosines = jnp.matmul(units, units.T, precision=jax.lax.Precision.HIGHEST)
    pairs = jnp.sum(jnp.where(jnp.eye(many, dtype=bool), 0, cosines)) / (many * (many - 1))
    share = jnp.where(total > 0, between / total, jnp.nan)
    return {
        "noise_scale": jnp.where(squared > 0, variance / squared, jnp.nan),
        "gradient_variance": scale * (scale * variance),
        "gradient_squared": scale * (scale * squared),
        "between_share": share,
        "within_share": 1 - share,
        "gradient_cosine": pairs,
    }


def _grouped(batch: Batch, batch_size: int, parts: int) -> Batch:
    """The batch as [K, m, s, ...]; what is left over is left out."""
    count = len(batch.inputs)
    if count < 4:
        raise ValueError(f"batch must have at least 4 examples, got {count}")
    for name, value in (("batch_size", batch_size), ("parts", parts)):
        checks.count(name, value)
        if value < 2:
            raise ValueError(f"{name} must be at least 2, got {value}")
    many = max(count // batch_size, 2)
    size = min(batch_size, count // 2)
    each = min(parts, size)
    form = (many, each, size // each)
    used = form[0] * form[1] * form[2]
    # Parts are made of neighbours within a mini-batch, mini-batches of neighbours in the batch.
    return Batch(*(array[:used].reshape(*form, *array.shape[1:]) for array in batch))


def _mini_batch(loss: Loss, params: PyTree, parts: Batch) -> tuple[Array, Array, Array]:
    """The mean of its parts' gradients, as one vector, the sum of their squared distances in units
    of a scale squared, and the scale.
    """

    def gradient(part: Batch) -> Array:
        found = ravel_pytree(jax.grad(loss)(params, part))[0]
        return found.astype(jnp.promote_types(found.dtype, jnp.float32))

    gradients = jax.vmap(gradient)(parts)
    mean = jnp.mean(gradients, axis=0)
    scale = scale_of(gradients)
    return mean, jnp.sum(jnp.square((gradients - mean[None]) / scale)), scale
