"""Does a model fit its task? Found by its shapes alone, before anything is trained.

Each function refuses with a ConfigError of one line that begins with `model 'name'`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import InvalidRngError, ModifyScopeVariableError

from initopt_jax.errors import ConfigError
from initopt_jax.lookup.user_code import VALUES_ASKED, user_code
from initopt_jax.models.modes import UNDERSTOOD
from initopt_jax.networks.dependence import follows
from initopt_jax.precision import param_dtype
from initopt_jax.tree import named_leaves, require_real
from initopt_jax.types import Model, PyTree, Shape, Split, Task


class Forms(NamedTuple):
    """Shapes and dtypes of a model's weights, of its state and of the outputs for a batch."""

    params: PyTree
    state: PyTree
    outputs: Any


def check_shapes(
    name: str, model: Model, task: Task, train: Split, outputs: int, where: str
) -> tuple[PyTree, PyTree]:
    """The shapes of a model's weights and of its state, if it can learn the task.

    Args:
        name: of the model, for messages.
        model: the model.
        task: what it is to learn.
        train: training data; only their shapes matter.
        outputs: how many numbers the data ask of it.
        where: the data's name, for messages.

    Raises:
        ConfigError: it does not take the inputs, has no weights that could be trained, its outputs
            do not fit, or its state does not keep its form.

    >>> from initopt_jax import models, tasks
    >>> train = Split(np.zeros((5, 4), np.float32), np.zeros(5, np.int32))
    >>> mlp = models.REGISTRY["mlp"].make(outputs=3)
    >>> classification = tasks.REGISTRY["classification"]
    >>> check_shapes("mlp", mlp, classification, train, 2, "my data")
    Traceback (most recent call last):
    initopt_jax.errors.ConfigError: model 'mlp' gives outputs of shape (2, 3) for 2 examples; task
    'classification' on 'my data' needs (2, 2)
    """
    forms = forms_of(name, model, train.inputs.shape[1:])
    require_weights(name, forms.params)
    require_outputs(name, task, forms.outputs, (2, outputs), where)
    require_loss(name, task, forms.outputs, train.targets)
    require_steady(name, model, forms, train.inputs.shape[1:])
    return forms.params, forms.state


def first_state(
    model: Model, state: PyTree, shape: Shape
) -> tuple[PyTree, Callable[[Any], PyTree] | None]:
    """A model's first state, or what draws it where it depends on a key.

    Args:
        model: the model.
        state: shapes of its state.
        shape: of one example.

    Returns:
        The state and None, or None and `(key) -> state`.
    """
    if not jax.tree.leaves(state):
        return state, None
    inputs = np.zeros((2, *shape), param_dtype())

    def draw(key: Any) -> PyTree:
        return model.init(key, inputs)[1]

    if follows(draw, jax.eval_shape(lambda: jax.random.key(0))):
        return None, draw
    return jax.tree.map(np.asarray, draw(jax.random.key(0))), None


def forms_of(name: str, model: Model, shape: Shape, batch: int = 2) -> Forms:
    """What `init` makes and evaluation gives for a batch of examples of a shape."""

    def forward(key: Any, inputs: Any) -> Forms:
        params, state = _pair(name, "init", "weights and state", model.init(key, inputs))
        made = model.apply(params, state, inputs, train=False)
        return Forms(params, state, _pair(name, "apply", "outputs and state", made)[0])

    given = (jax.random.key(0), batch_of(shape, batch))
    return _traced(name, f"does not take inputs of shape {shape}", forward, *given)


def require_weights(name: str, params: PyTree) -> None:
    """Refuse weights that no gradient could move."""
    leaves = named_leaves(params)
    if not any(leaf.size for _, leaf in leaves):
        raise ConfigError(f"model {name!r} has no weights: nothing could be learnt")
    try:
        require_real("weights", params)
    except ValueError as error:
        raise ConfigError(f"model {name!r}: {error}") from error


def require_outputs(name: str, task: Task, outputs: Any, wanted: Shape, where: str) -> None:
    """Refuse outputs that are not one floating array of the wanted shape."""
    needs = f"task {task.name!r} on {where!r} needs {wanted}"
    if not isinstance(outputs, jax.ShapeDtypeStruct):
        kind = type(outputs).__name__
        raise ConfigError(f"model {name!r} must return one array of outputs, got a {kind}; {needs}")
    if outputs.shape != wanted:
        alone = outputs.shape == (wanted[0], 1) and task.kind == "classification"
        why = "; a classification takes an output per class, two of two classes" if alone else ""
        raise ConfigError(
            f"model {name!r} gives outputs of shape {outputs.shape} for {wanted[0]} examples; "
            f"{needs}{why}"
        )
    if not jnp.issubdtype(outputs.dtype, jnp.floating):
        raise ConfigError(
            f"model {name!r} gives outputs of dtype {outputs.dtype.name}; task {task.name!r} needs "
            "floating numbers, such as the logits before an argmax or a comparison"
        )


def require_loss(name: str, task: Task, outputs: Any, targets: np.ndarray) -> None:
    """Refuse outputs that the task's loss does not take, or makes no loss per example of."""
    batch = outputs.shape[0]
    like = jax.ShapeDtypeStruct((batch, *targets.shape[1:]), targets.dtype)
    what = f"model {name!r}: the loss of task {task.name!r}"
    with user_code(f"{what} does not take its outputs"):
        made = jax.eval_shape(task.loss, outputs, like)
    shape, dtype = getattr(made, "shape", None), getattr(made, "dtype", None)
    if shape != (batch,) or dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise ConfigError(
            f"{what} must give one floating number per example, [{batch}], got {shape} {dtype}"
        )


def require_steady(name: str, model: Model, forms: Forms, shape: Shape, batch: int = 2) -> None:
    """Refuse a state that a training step gives another form, or outputs that differ in training.

    A study carries the state through a compiled loop, where forms cannot change.
    """

    def train(params: PyTree, state: PyTree, key: Any, inputs: Any) -> Any:
        made = model.apply(params, state, inputs, key=key, train=True)
        return _pair(name, "apply", "outputs and state", made)

    given = (forms.params, forms.state, jax.random.key(0), batch_of(shape, batch))
    outputs, after = _traced(name, f"cannot be trained on inputs of shape {shape}", train, *given)
    if outputs.shape != (batch, *forms.outputs.shape[1:]):
        raise ConfigError(
            f"model {name!r} gives outputs of shape {outputs.shape} in training and "
            f"{forms.outputs.shape} in evaluation"
        )
    for path, leaf in named_leaves(forms.state):
        if not isinstance(leaf.dtype, np.dtype):  # a random key: its words can be kept, it cannot
            raise ConfigError(
                f"model {name!r}: its state must be numbers, and {path} is {leaf.dtype}; keep "
                "jax.random.key_data of a key"
            )
    before, moved = _described(forms.state), _described(after)
    for path in sorted(before.keys() | moved.keys()):
        if before.get(path) != moved.get(path):
            raise ConfigError(
                f"model {name!r}: its state must keep its form over a training step, and {path} is "
                f"{before.get(path, 'not there')} before one and {moved.get(path, 'not there')} "
                "after it"
            )


def batch_of(shape: Shape, batch: int) -> jax.ShapeDtypeStruct:
    """The form of a batch of examples of a shape."""
    return jax.ShapeDtypeStruct((batch, *shape), param_dtype())


def _traced(name: str, what: str, function: Callable[..., Any], *given: Any) -> Any:
    """The forms that a function gives; whatever is wrong is said in one line."""
    asked = f"model {name!r} {what}"
    try:
        with user_code(asked):
            return jax.eval_shape(function, *given)
    except ConfigError as error:
        said, cause = str(error), error.__cause__
        if isinstance(cause, VALUES_ASKED):
            raise ConfigError(
                f"model {name!r} cannot be compiled: it asks for the values of an array (an if, a "
                "loop or NumPy), and there are none while it is; use jnp.where, jax.lax and "
                "jax.numpy"
            ) from error
        if isinstance(cause, InvalidRngError | ModifyScopeVariableError):
            random = isinstance(cause, InvalidRngError)
            does = "draws random numbers" if random else "changes its state"
            raise ConfigError(
                f"model {name!r} {does} in evaluation ({str(cause).partition(' (http')[0]}): "
                "whether it trains does not reach the layer that does; " + UNDERSTOOD
            ) from error
        own = said.startswith(f"model {name!r}")
        raise ConfigError(said if own else f"{asked}: {said}") from error


def _pair(name: str, function: str, parts: str, made: Any) -> tuple[Any, Any]:
    if not (isinstance(made, tuple) and len(made) == 2):
        kind = type(made).__name__
        raise ConfigError(f"model {name!r}: {function} must return a pair, {parts}, got a {kind}")
    return made


def _described(tree: PyTree) -> dict[str, str]:
    """Path to dtype and shape."""
    return {
        path: f"{leaf.dtype.name}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in named_leaves(tree)
    }
