"""A bare test function of two variables, in the form in which networks are trained.

The one parameter is a point in the plane. It has the place of a network's weights, so that starting
points are initializations, and a run passes through the very engine that trains networks.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.config.task_keys import TEST_FUNCTION
from initopt_jax.errors import ConfigError
from initopt_jax.lookup.names import import_object, lookup
from initopt_jax.lookup.options import call_with, check_options
from initopt_jax.lookup.user_code import user_code
from initopt_jax.probes.slices.record import Mesh
from initopt_jax.tasks.functions import REGISTRY, Domain, Point, TestFunctionEntry, from_function
from initopt_jax.types import Array, Dataset, Direction, Model, PyTree, Split, Task, option_names

NAME = TEST_FUNCTION
LEAF = "point"
FORMULA = "loss = f(x, y); distance = min over known minima of |(x, y) - minimum|"
OUTPUTS = 3


@dataclass(frozen=True)
class TestFunction:
    """A test function with its options filled in.

    Attributes:
        name: as written in the config.
        options: as given there.
        value: `(x, y) -> scalar`; None of a study that was read back: reading it runs no code.
        minima: those that are known.
        domain: x_low, x_high, y_low, y_high.
        target: a value that counts as solved, or None.
        mesh: values that were stored, which take the place of `value` where it is None.
    """

    __test__ = False  # its name is no name of a test

    name: str
    options: Mapping[str, float]
    value: Callable[[Array, Array], Array] | None
    minima: tuple[Point, ...]
    domain: Domain
    target: float | None
    mesh: Mesh | None = None

    def __call__(self, x: Any, y: Any) -> Array:
        """The value at a point. Raises ConfigError where only stored values are known."""
        if self.value is None:
            raise ConfigError(f"function {self.name!r} was read back as stored values alone")
        return self.value(x, y)

    def describe(self) -> dict[str, Any]:
        """As plain JSON values, for a manifest."""
        return {
            "name": self.name,
            "options": dict(self.options),
            "minima": [list(point) for point in self.minima],
            "domain": list(self.domain),
            "target": self.target,
        }


def read_function(known: Mapping[str, Any], mesh: Mesh | None) -> TestFunction:
    """The test function of a study from what was stored of it; nothing is imported.

    Args:
        known: as `TestFunction.describe` wrote it.
        mesh: its stored values. Without them a function of `functions.REGISTRY` still has its
            value; one of the user's own has none.
    """
    if mesh is None and known["name"] in REGISTRY:
        return find_function(known["name"], known["options"])
    return TestFunction(
        name=known["name"],
        options=known["options"],
        value=None,
        minima=tuple((x, y) for x, y in known["minima"]),
        domain=tuple(known["domain"]),
        target=known["target"],
        mesh=mesh,
    )


def find_function(name: str, options: Mapping[str, Any]) -> TestFunction:
    """The test function that a config names: one of `functions.REGISTRY`, or `module:function`.

    Args:
        name: of the function.
        options: by name; one number each.

    Raises:
        ConfigError: the name or an option is unknown, or the function does not give one number for
            two.

    >>> find_function("ravine", {"condition": 10.0}).value(0.0, 1.0)
    5.0
    """
    what = f"function {name!r}"
    entry = _find(name)
    check_options(what, entry.value, options, given=_variables(entry))
    for option, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{what}: {option} must be one number, got {value!r}")
    value = functools.partial(entry.value, **options)
    _try(what, value)
    try:
        minima = entry.minima(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what}: {error}") from error
    return TestFunction(name, dict(options), value, minima, entry.domain, entry.target)


def _find(name: str) -> TestFunctionEntry:
    if ":" not in name:
        return lookup("function", name, REGISTRY)
    given = {"name": name, "function": import_object("function", name)}
    return call_with(f"function {name!r}", from_function, given)


def _variables(entry: TestFunctionEntry) -> tuple[str, ...]:
    """The names of a function's two variables: no options."""
    return tuple(option_names(entry.value))[:2]


def _try(what: str, value: Callable[[Any, Any], Any]) -> None:
    """Refuse what does not give one real number, with a gradient, for two of them."""
    made = _traced(f"{what} fails for two numbers x and y", value)
    shape, dtype = getattr(made, "shape", None), getattr(made, "dtype", None)
    if shape != () or dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        got = f"shape {shape} and type {dtype}" if dtype is not None else type(made).__name__
        raise ConfigError(f"{what} must return one real number for two, got {got}")
    _traced(f"{what} has no gradient", jax.grad(value, argnums=(0, 1)))


def _traced(what: str, function: Callable[[Any, Any], Any]) -> Any:
    """What a function gives for two numbers, as shapes."""
    number = jax.ShapeDtypeStruct((), np.float32)
    with user_code(what):
        return jax.eval_shape(function, number, number)


def make_model(test_function: TestFunction) -> Model:
    """The function as a model: its parameter is `{"point": [x, y]}`, its outputs are (f, x, y)."""

    def init(key: Array, inputs: Array) -> tuple[PyTree, PyTree]:
        del key, inputs
        return {LEAF: jnp.zeros(2, jnp.float32)}, {}

    def apply(
        params: PyTree,
        model_state: PyTree,
        inputs: Array,
        *,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        del key, train
        x, y = params[LEAF][0], params[LEAF][1]
        outputs = jnp.stack([jnp.asarray(test_function(x, y), x.dtype), x, y])
        return jnp.broadcast_to(outputs, (inputs.shape[0], OUTPUTS)), model_state

    return Model(init, apply)


def make_dataset(test_function: TestFunction) -> Dataset:
    """One example that nothing looks at, in all three splits: a test function has no data."""
    one = Split(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
    return Dataset(test_function.name, NAME, one, one, one, OUTPUTS, fingerprint="none")


def make_task(minima: Sequence[Point] = ()) -> Task:
    """Value, and the distance from the nearest of these minima where there are any."""

    def measure(outputs: Array, targets: Array, weights: Array) -> dict[str, Array]:
        del targets
        sums = {"count": jnp.sum(weights), "loss": jnp.sum(weights * outputs[:, 0])}
        if minima:
            gaps = outputs[:, None, 1:] - jnp.asarray(minima, outputs.dtype)[None]
            nearest = jnp.min(jnp.sqrt(jnp.sum(jnp.square(gaps), axis=-1)), axis=-1)
            sums["distance"] = jnp.sum(weights * nearest)
        return sums

    def summarize(sums: dict[str, Array]) -> dict[str, Array]:
        return {name: value / sums["count"] for name, value in sums.items() if name != "count"}

    metrics: dict[str, Direction] = {"loss": "min"}
    if minima:
        metrics["distance"] = "min"
    return Task(
        name=NAME,
        kind=NAME,
        loss=lambda outputs, targets: outputs[:, 0],
        measure=measure,
        summarize=summarize,
        metrics=metrics,
        primary="loss",
        chance=lambda targets: None,
        formula=FORMULA,
        reference="the function's own: initopt list functions",
    )


TASK = make_task()
