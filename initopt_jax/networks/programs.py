"""Walks through the operations of a program (a jaxpr): one evaluator, and visitors that read it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
from jax.extend.core import Literal

from initopt_jax.types import PyTree

T = TypeVar("T")


class Program(NamedTuple):
    """The operations of a function (an open jaxpr), and its constants."""

    jaxpr: Any
    consts: Sequence[Any] = ()


class Visitor(Protocol[T]):
    """What is wanted of a program: `T` is what there is to know of an array in it."""

    def constant(self, value: Any) -> T:
        """What is known of a constant."""
        ...

    def read(self, known: T, times: int) -> T:
        """What an operation sees of an array that is read so many times."""
        ...

    def visit(self, equation: Any, operands: list[T]) -> Sequence[T]:
        """What is known of the results of an operation."""
        ...


def evaluate(program: Program, given: Sequence[T], visitor: Visitor[T]) -> list[T]:
    """What a visitor finds of a program's results, one operation after another.

    Args:
        program: whose inputs are `given`, in order.
        given: what is known of them.
        visitor: called for every operation, not for those inside of one: that it may look into
            them, by `programs_in` and another `evaluate`, is its own affair.
    """
    jaxpr = program.jaxpr
    known: dict[Any, T] = dict(zip(jaxpr.invars, given, strict=True))
    known |= {
        variable: visitor.constant(value)
        for variable, value in zip(jaxpr.constvars, program.consts, strict=False)
    }
    times = Counter(v for e in jaxpr.eqns for v in e.invars if not isinstance(v, Literal))
    times.update(v for v in jaxpr.outvars if not isinstance(v, Literal))

    def look_up(variable: Any) -> T:
        if isinstance(variable, Literal):
            return visitor.constant(variable.val)
        return visitor.read(known[variable], times[variable])

    for equation in jaxpr.eqns:
        results = visitor.visit(equation, [look_up(variable) for variable in equation.invars])
        known.update(zip(equation.outvars, results, strict=True))
    return [look_up(variable) for variable in jaxpr.outvars]


def program_of(function: Callable[..., Any], *given: PyTree) -> Program:
    """The operations of a function of arrays or their shapes; nothing is computed."""
    return opened(jax.make_jaxpr(function)(*given))


def opened(jaxpr: Any) -> Program:
    """A program from JAX's own form, closed (with its constants) or open."""
    return Program(getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ()))


def programs_in(equation: Any) -> list[Program]:
    """The programs inside an operation: of a loop, the branches of a condition, a function."""
    values = equation.params.values()
    parts = [part for v in values for part in (v if isinstance(v, tuple | list) else (v,))]
    return [program for program in map(opened, parts) if hasattr(program.jaxpr, "eqns")]


def equations(jaxpr: Any) -> Iterator[Any]:
    """The operations of a program, and those of the programs inside them."""
    for equation in jaxpr.eqns:
        yield equation
        for program in programs_in(equation):
            yield from equations(program.jaxpr)


def compute(equation: Any, numbers: Sequence[Any]) -> list[Any]:
    """The results of one operation."""
    primitive = equation.primitive
    bound = primitive.get_bind_params(equation.params)
    functions, params = bound if isinstance(bound, tuple) else ((), bound)  # before JAX 0.10
    outcome = primitive.bind(*functions, *numbers, **params)
    return list(outcome) if primitive.multiple_results else [outcome]
