"""Models by name: pairs of pure functions. The only place that knows Flax."""

from collections.abc import Callable
from dataclasses import dataclass

from initopt_jax.lookup.names import import_object, lookup
from initopt_jax.models import cnn as _cnn
from initopt_jax.models import dense_stacks as _stacks
from initopt_jax.models import lenet as _lenet
from initopt_jax.models import linear as _linear
from initopt_jax.models import mixer as _mixer
from initopt_jax.models import mlp as _mlp
from initopt_jax.models import recurrent as _recurrent
from initopt_jax.models import resnet as _resnet
from initopt_jax.models import transformer as _transformer
from initopt_jax.models.acting import Declared, declared, require_apart, require_modes
from initopt_jax.models.adapter import (
    as_model,
    brings_weights,
    from_linen,
    is_model,
    is_module_class,
    param_shapes,
)
from initopt_jax.models.fit import Forms, check_shapes, first_state, forms_of
from initopt_jax.models.layers import network_in, network_of
from initopt_jax.models.modes import refuse_flags
from initopt_jax.models.nnx_adapter import from_nnx
from initopt_jax.models.precision import computes_in, floats_as, held_in, with_precision
from initopt_jax.types import MakeModel

__all__ = [
    "REGISTRY",
    "Declared",
    "Forms",
    "ModelEntry",
    "as_model",
    "brings_weights",
    "check_shapes",
    "computes_in",
    "declared",
    "find_model",
    "first_state",
    "floats_as",
    "forms_of",
    "from_linen",
    "from_nnx",
    "held_in",
    "is_model",
    "is_module_class",
    "network_in",
    "network_of",
    "param_shapes",
    "refuse_flags",
    "require_apart",
    "require_modes",
    "with_precision",
]


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
    make: MakeModel
    formula: str
    reference: str


REGISTRY: dict[str, ModelEntry] = {
    entry.name: entry
    for entry in (
        ModelEntry(
            "autoencoder", _stacks.autoencoder, _stacks.CODER_FORMULA, _stacks.CODER_REFERENCE
        ),
        ModelEntry("cnn", _cnn.cnn, _cnn.FORMULA, _cnn.REFERENCE),
        ModelEntry(
            "deep_linear", _stacks.deep_linear, _stacks.LINEAR_FORMULA, _stacks.LINEAR_REFERENCE
        ),
        ModelEntry("lenet5", _lenet.lenet5, _lenet.FORMULA, _lenet.REFERENCE),
        ModelEntry("linear", _linear.linear, _linear.FORMULA, _linear.REFERENCE),
        ModelEntry("mlp", _mlp.mlp, _mlp.FORMULA, _mlp.REFERENCE),
        ModelEntry("resnet", _resnet.resnet, _resnet.FORMULA, _resnet.REFERENCE),
        ModelEntry("rnn", _recurrent.rnn, _recurrent.RNN_FORMULA, _recurrent.RNN_REFERENCE),
        ModelEntry("lstm", _recurrent.lstm, _recurrent.LSTM_FORMULA, _recurrent.LSTM_REFERENCE),
        ModelEntry("gru", _recurrent.gru, _recurrent.GRU_FORMULA, _recurrent.GRU_REFERENCE),
        ModelEntry("mixer", _mixer.mixer, _mixer.FORMULA, _mixer.REFERENCE),
        ModelEntry(
            "transformer", _transformer.transformer, _transformer.FORMULA, _transformer.REFERENCE
        ),
        ModelEntry("vit", _transformer.vit, _transformer.VIT_FORMULA, _transformer.VIT_REFERENCE),
    )
}


def find_model(name: str) -> Callable[..., object]:
    """What makes a model: of the registry, or the user's `module:function`.

    Raises:
        ConfigError: there is no such name.
    """
    return import_object("model", name) if ":" in name else lookup("model", name, REGISTRY).make
