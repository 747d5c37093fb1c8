"""How far a model comes with some examples before anything is computed: the first contracts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from initopt_jax.conformance.examples import Examples
from initopt_jax.conformance.model_subject import ModelSubject
from initopt_jax.errors import ConfigError
from initopt_jax.models import as_model, declared, held_in, require_modes
from initopt_jax.models.fit import (
    forms_of,
    require_loss,
    require_outputs,
    require_steady,
    require_weights,
)
from initopt_jax.precision import param_dtype
from initopt_jax.types import Model


class Trial:
    """How far a model comes with some examples, before anything is computed.

    Attributes:
        passed: number of gates that it passed.
        broken: what is wrong at the next one.
        subject: the model with these examples, if it passed all.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Any],
        examples: Examples,
        options: Mapping[str, Any] | None = None,
    ):
        self._options = options or {}
        self.examples, self.passed, self.broken = examples, 0, ""
        self.subject: ModelSubject | None = None
        try:
            self.subject = self._through(name, make)
        except ConfigError as error:
            self.broken = str(error)

    def _through(self, name: str, make: Callable[[], Any]) -> ModelSubject:
        examples, count = self.examples, len(self.examples.batch.inputs)

        def build() -> Any:
            try:
                return make()
            except ConfigError:
                raise
            except Exception as error:
                what = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
                raise ConfigError(f"model {name!r}: {what}") from error

        made = build()
        model = as_model(made, name)
        self.passed = 1
        own = forms_of(name, model, examples.shape, count)
        model, _ = held_in(model, own, param_dtype())
        forms = forms_of(name, model, examples.shape, count)
        require_weights(name, forms.params)
        self.passed = 2
        wanted = (count, examples.outputs)
        require_outputs(name, examples.task, forms.outputs, wanted, examples.where)
        require_loss(name, examples.task, forms.outputs, examples.batch.targets)
        self.passed = 3
        require_steady(name, model, forms, examples.shape, count)
        self.passed = 4
        known = declared(made, self._options)
        require_modes(name, model, known, forms, examples.shape, count)
        self.passed = 5

        def again() -> Model:
            return held_in(as_model(build(), name), own, param_dtype())[0]

        return ModelSubject(name, again, made, model, examples, forms)


def is_made_for_its_outputs() -> None:
    """A function of outputs= makes it: a Linen or NNX module, or a Model(init, apply)."""


def takes_the_examples() -> None:
    """It takes a batch of examples, and has weights, floating numbers all."""


def fits_the_task() -> None:
    """It gives one floating array [examples, outputs] that the task's loss takes."""


def keeps_the_form_of_its_state() -> None:
    """It can be trained, and its state keeps structure, shapes and dtypes over a step."""


def is_told_whether_it_trains() -> None:
    """Dropout and batch statistics that it declares act in training, and rest in evaluation."""


GATES: Sequence[Callable[[], None]] = (
    is_made_for_its_outputs,
    takes_the_examples,
    fits_the_task,
    keeps_the_form_of_its_state,
    is_told_whether_it_trains,
)
