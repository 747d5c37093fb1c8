"""Mirrored weights: a deep rectified net that starts as a linear one."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.centre import around_centre, at_centre, centre_of, matrix_shape
from initopt_jax.initializers.orthogonal import orthogonal
from initopt_jax.types import Array, DistributionSpec, Initializer, Shape

MIRRORS = ("even", "both", "inputs", "outputs")


def looks_linear(
    key: Array,
    shape: Shape,
    dtype: Any = jnp.float32,
    *,
    gain: ArrayLike = 1.0,
    mirror: str = "even",
) -> Array:
    """Blocks of one orthogonal matrix and its negative, by which rectified units form pairs.

    `W = [[Q, -Q], [-Q, Q]]` with `Q` orthogonal of singular value `gain`; of a convolution, at the
    centre of the window, zeros around it

    Unit `i` of the first half and unit `i` of the second hold `z_i` and `-z_i`. Rectified, they
    hold the two parts of `z_i`, whose difference the next layer's blocks take: the net computes
    `x Q_1 Q_2 ... Q_n`, as if it had no rectifiers.

    The first layer of a net has inputs that are no pairs, the last one outputs that are none. A
    leaf does not know where it stands, so `mirror` tells it:

    | mirror | weights | for |
    | --- | --- | --- |
    | `both` | `[[Q, -Q], [-Q, Q]]` | between rectified layers |
    | `outputs` | `[Q, -Q]` | the first layer |
    | `inputs` | `[[Q], [-Q]]` | the last layer |
    | `even` | mirrors whichever number is even | nets with an odd number of inputs or outputs |

    An odd number cannot be halved and so cannot be that of pairs: `even` takes it for the inputs or
    outputs of the net. The even inputs of a first layer it mirrors too: the net is linear still,
    but sees only the difference of their halves; give that layer a rule of its own.

    Args:
        key: of this leaf.
        shape: of the leaf, at least two dimensions: `(inputs, outputs)` or
            `(..window.., inputs, outputs)`.
        dtype: of the leaf, floating.
        gain: the common singular value of `Q`, above 0, concrete or traced.
        mirror: `even`, `both`, `inputs` or `outputs`.

    Returns:
        The leaf. The halves are equal and opposite, bit for bit.

    Raises:
        ValueError: if `shape` has fewer than two dimensions or an empty one, what `mirror` asks to
            halve is odd (for `even`: both are), `mirror` is another text, `dtype` is not a real
            floating dtype, or a concrete `gain` is not above 0.

    Reference:
        Balduzzi, Frean, Leary, Lewis, Ma and McWilliams (2017), The shattered gradients problem: if
        resnets are the answer, then what is the question?, the looks-linear initialization.
        Burkholz and Dubatovka (2019), Initialization of ReLUs for dynamical isometry, the initial
        parameter sharing: the four blocks, for plain rectifiers.

    Deviations:
        Balduzzi et al. form the pairs by the activation, CReLU, whose layers have the blocks
        `[[Q], [-Q]]` here; this is the same net at the start with plain rectifiers. In training the
        two halves of the outputs may part. Theirs is a normal or an orthogonal `Q`.

    >>> import jax
    >>> first = looks_linear(jax.random.key(0), (2, 6), mirror="outputs")
    >>> last = looks_linear(jax.random.key(1), (6, 1))
    >>> x = jnp.array([0.3, -0.7])
    >>> difference = jax.nn.relu(x @ first) @ last - x @ first[:, :3] @ last[:3]
    >>> bool(abs(difference).max() < 1e-6)
    True
    """
    inputs, outputs = _halved(shape, mirror)
    rows, columns = matrix_shape(shape)
    block = (rows // 2 if inputs else rows), (columns // 2 if outputs else columns)
    matrix = orthogonal(key, block, dtype, gain=gain)
    if inputs:
        matrix = jnp.concatenate([matrix, -matrix], axis=0)
    if outputs:
        matrix = jnp.concatenate([matrix, -matrix], axis=1)
    return at_centre(matrix, shape)


def looks_linear_distribution(
    shape: Shape, *, gain: float = 1.0, mirror: str = "even"
) -> DistributionSpec:
    """The distribution of `looks_linear`."""
    checks.positive("gain", gain)
    inputs, outputs = _halved(shape, mirror)
    rows, columns = matrix_shape(shape)
    rows, columns = (rows // 2 if inputs else rows), (columns // 2 if outputs else columns)

    def arranged(weights: np.ndarray) -> str:
        matrix = centre_of(weights)
        if inputs and (matrix[:rows] != -matrix[rows:]).any():
            return "the weights of the second half of the inputs do not mirror those of the first"
        if outputs and (matrix[:, :columns] != -matrix[:, columns:]).any():
            return "the weights of the second half of the outputs do not mirror those of the first"
        return around_centre(weights)

    return DistributionSpec(
        "orthogonal",
        std=gain / math.sqrt(max(rows, columns)),
        low=-gain,
        high=gain,
        gain=gain,
        drawn=lambda weights: centre_of(weights)[:rows, :columns],
        arranged=arranged,
    )


def _halved(shape: Shape, mirror: str) -> tuple[bool, bool]:
    """Whether inputs and outputs are mirrored."""
    if mirror not in MIRRORS:
        raise ValueError(f"mirror must be one of {', '.join(MIRRORS)}, got {mirror!r}")
    rows, columns = matrix_shape(shape)
    if mirror == "even":
        if rows % 2 and columns % 2:
            raise ValueError(
                f"shape must have an even number of inputs or of outputs to mirror, got {shape}"
            )
        return rows % 2 == 0, columns % 2 == 0
    inputs, outputs = mirror != "outputs", mirror != "inputs"
    for what, halved, size in [("inputs", inputs, rows), ("outputs", outputs, columns)]:
        if halved and size % 2:
            raise ValueError(
                f"shape must have an even number of {what} for mirror {mirror!r}, got {shape}"
            )
    return inputs, outputs


ENTRIES = (
    Initializer(
        name="looks_linear",
        draw=looks_linear,
        distribution=looks_linear_distribution,
        formula="W = [[Q, -Q], [-Q, Q]], Q orthogonal, at the centre of the window",
        reference="Balduzzi et al. (2017), the looks-linear initialization",
    ),
)
