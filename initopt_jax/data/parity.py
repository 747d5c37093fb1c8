"""Sparse parity: a label that hangs on a few bits together, and on none of them alone."""

from initopt_jax.data.finish import finish
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.data.split import require_integer
from initopt_jax.data.streams import streams
from initopt_jax.errors import ConfigError
from initopt_jax.types import Dataset


def load_parity(
    request: Request, *, samples: int = 1000, bits: int = 20, relevant: int = 3, seed: int = 0
) -> Dataset:
    """`x` uniform in {-1, 1}^n; the label is 1 where `prod_{i in S} x_i = -1`, for a hidden S.

    S is a random set of `relevant` bits; it and the examples have streams of their own: another
    number of samples keeps S.

    Args:
        request: name, kind, split and the common options; `normalize` is false by default.
        samples: number of examples, at least 1; an example may occur twice.
        bits: n, at least 1.
        relevant: size of S, from 1 to n.
        seed: of S and examples, at least 0.

    Returns:
        The data set; inputs [N, bits], labels 0 (an even number of -1 in S) and 1.

    Raises:
        ConfigError: an option is out of range.

    Reference: Barak, Edelman, Goel, Kakade, Malach & Zhang 2022, Hidden progress in deep learning:
        SGD learns parities near the computational limit, NeurIPS.

    >>> from initopt_jax.data.split import SplitSpec
    >>> parity = load_parity(Request("parity", "classification", SplitSpec()), bits=6)
    >>> parity.train.inputs.shape, parity.outputs
    ((600, 6), 2)
    """
    require_integer("bits", bits, least=1)
    choice, examples = streams(2, samples=samples, numbers=bits, seed=seed)
    require_integer("relevant", relevant, least=1)
    if relevant > bits:
        raise ConfigError(f"relevant must be at most bits ({bits}), got {relevant}")
    chosen = choice.permutation(bits)[:relevant]
    inputs = 1 - 2 * examples.integers(0, 2, size=(samples, bits))
    labels = (inputs[:, chosen] < 0).sum(axis=1) % 2
    return finish(request, inputs, labels, outputs=2, table=True)


ENTRY = DatasetSource(
    name="parity",
    load=load_parity,
    kinds=("classification",),
    description="parity of a few hidden bits of many; `samples`, `bits`, `relevant`, `seed`",
    reference="Barak, Edelman, Goel, Kakade, Malach & Zhang 2022, Hidden progress in deep learning",
    normalize=False,
)
