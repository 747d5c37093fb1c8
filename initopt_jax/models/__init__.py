"""Models by name: pairs of pure functions. The only place that knows Flax."""

from collections.abc import Callable
from dataclasses import dataclass

from initopt_jax.models import cnn as _cnn
from initopt_jax.models import linear as _linear
from initopt_jax.models import mlp as _mlp
from initopt_jax.models.adapter import as_model, from_linen, param_shapes
from initopt_jax.models.layers import network_of
from initopt_jax.types import Model

__all__ = ["REGISTRY", "ModelEntry", "as_model", "from_linen", "network_of", "param_shapes"]


@dataclass(frozen=True)
class ModelEntry:
    """Registry entry of one model.

    Attributes:
        name: as written in a config.
        make: `(*, outputs, **options) -> Model`.
        formula: one line, plain text.
        reference: authors, year, title.
    """

    name: str
    make: Callable[..., Model]
    formula: str
    reference: str


REGISTRY: dict[str, ModelEntry] = {
    "cnn": ModelEntry("cnn", _cnn.cnn, _cnn.FORMULA, _cnn.REFERENCE),
    "linear": ModelEntry("linear", _linear.linear, _linear.FORMULA, _linear.REFERENCE),
    "mlp": ModelEntry("mlp", _mlp.mlp, _mlp.FORMULA, _mlp.REFERENCE),
}
