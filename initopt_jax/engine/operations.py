"""Floating-point operations, counted in a trace: the same number on every machine.

What is counted of each operation of a jaxpr:

- a product of arrays or a convolution: 2 for every multiply-add (complex ones 8), where a
  convolution's padding and the zeros between dilated pixels multiply nothing;
- a reduction: its inputs less its outputs; pooling: the numbers of all windows; `scatter-add`: what
  is added;
- a factorization, a triangular solve, a Fourier transform: the usual leading terms;
- anything else that takes or gives floating-point numbers: 1 for each number that it gives,
  whatever the function; random bits, integers, truth values, and what only moves or converts
  numbers: nothing.

A loop counts as often as its body runs, of a condition the branch with most operations. A `while`
loop whose length depends on numbers counts once, and is told of.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

from initopt_jax.models.convolution import as_stock
from initopt_jax.networks.programs import programs_in

MOVES = frozenset((
    "bitcast_convert_type", "broadcast_in_dim", "complex", "concatenate", "convert_element_type",
    "copy", "copy_p", "device_put", "dynamic_slice", "dynamic_update_slice", "empty",
    "expand_dims", "gather", "imag", "iota", "optimization_barrier", "pad", "real",
    "reduce_precision", "reshape", "rev", "scatter", "select_n", "sharding_constraint", "slice",
    "split", "squeeze", "stop_gradient", "tile", "transpose"
))  # fmt: skip
REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin", "reduce")


@dataclass(frozen=True, order=True)
class Operations:
    """How many floating-point operations.

    Attributes:
        count: of them.
        open_loops: `while` loops among them whose length depends on numbers: each counts once, so
            that there may be more, or none where it does not run at all.
    """

    count: int = 0
    open_loops: int = 0

    def __add__(self, other: "Operations") -> "Operations":
        return Operations(self.count + other.count, self.open_loops + other.open_loops)

    def times(self, rounds: int) -> "Operations":
        """Those of so many rounds of a loop."""
        return Operations(self.count * rounds, self.open_loops if rounds else 0)


def operations(function: Callable[..., Any], *shapes: Any) -> Operations:
    """The floating-point operations of a function; nothing is computed or compiled.

    Convolutions count in the form that `lax` has, whichever runs; what no result needs is left out.

    Args:
        function: as it is given to `jax.jit`.
        shapes: its arguments, or their shapes.

    >>> operations(jnp.dot, jnp.ones((3, 4)), jnp.ones((4, 5))).count
    120
    >>> operations(lambda x: jax.lax.fori_loop(0, 7, lambda i, x: 2 * x, x), jnp.ones(3)).count
    21
    """

    def fresh(*arguments: Any) -> Any:  # one that JAX has not traced in another form
        return function(*arguments)

    with as_stock():
        closed = jax.make_jaxpr(fresh)(*shapes)
    jaxpr: Any = closed.jaxpr
    needed, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars), instantiate=True)
    return _of_jaxpr(needed)


def _of_jaxpr(jaxpr: Any) -> Operations:
    return sum(map(_of_equation, jaxpr.eqns), Operations())


def _of_equation(equation: Any) -> Operations:
    name, params = equation.primitive.name, equation.params
    if name == "scan":
        return _of_jaxpr(params["jaxpr"].jaxpr).times(params["length"])
    if name == "cond":
        return max(_of_jaxpr(branch.jaxpr) for branch in params["branches"])
    if name == "while":
        return _of_while(equation)
    if name == "custom_linear_solve":
        return _of_jaxpr(params["jaxprs"].solve.jaxpr)
    if (count := _of_arithmetic(equation)) is not None:
        return Operations(count)
    if inside := programs_in(equation):
        return sum((_of_jaxpr(program.jaxpr) for program in inside), Operations())
    floats = any(_is_float(v) for v in (*equation.invars, *equation.outvars))
    return Operations(sum(map(_size, equation.outvars)) if floats else 0)


def _of_while(equation: Any) -> Operations:
    body = _of_jaxpr(equation.params["body_jaxpr"].jaxpr)
    test = _of_jaxpr(equation.params["cond_jaxpr"].jaxpr)
    rounds = _rounds(equation)
    if rounds is not None:
        return body.times(rounds) + test.times(rounds + 1)
    once = body + test
    return Operations(once.count, once.open_loops + 1) if once.count else once


def _rounds(equation: Any) -> int | None:
    """How often a loop runs that counts from one written number to another; None for all others."""
    params = equation.params
    condition, body = params["cond_jaxpr"].jaxpr, params["body_jaxpr"].jaxpr
    if len(condition.eqns) != 1 or condition.outvars[0] is not condition.eqns[0].outvars[0]:
        return None
    (test,) = condition.eqns
    carried = condition.invars[params["cond_nconsts"] :]
    places = [i for i, variable in enumerate(carried) if variable is test.invars[0]]
    if test.primitive.name not in ("lt", "le") or not places or _literal(test.invars[1]) is None:
        return None
    place = places[0]
    first = _literal(equation.invars[params["cond_nconsts"] + params["body_nconsts"] + place])
    counter = body.invars[params["body_nconsts"] + place]
    steps = [e for e in body.eqns if e.outvars[0] is body.outvars[place]]
    if first is None or not steps or steps[0].primitive.name != "add":
        return None
    by = [_literal(v) for v in steps[0].invars if v is not counter]
    if len(by) != 1 or by[0] is None or by[0] <= 0:
        return None
    end = _literal(test.invars[1]) + (test.primitive.name == "le")
    return max(0, -(-(end - first) // by[0]))


def _literal(variable: Any) -> Any:
    value = getattr(variable, "val", 0.5)
    return int(value) if np.issubdtype(np.result_type(value), np.integer) else None


def _of_arithmetic(equation: Any) -> int | None:
    """The count of an operation that is known by name; None for others."""
    name, params = equation.primitive.name, equation.params
    taken, given = equation.invars, equation.outvars
    if name in MOVES or name.startswith("random_"):
        return 0
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        terms = math.prod(taken[0].aval.shape[axis] for axis in contracted)
        return _multiply_add(taken[0]) * terms * _size(given[0])
    if name == "ragged_dot_general":
        (contracted, _), _ = params["ragged_dot_dimension_numbers"].dot_dimension_numbers
        terms = math.prod(taken[0].aval.shape[axis] for axis in contracted)
        return _multiply_add(taken[0]) * terms * _size(given[0])
    if name == "conv_general_dilated":
        return _multiply_add(taken[0]) * _convolution_terms(equation)
    if name in REDUCTIONS:
        return max(0, _size(taken[0]) - _size(given[0])) if _is_float(taken[0]) else 0
    if name.startswith("reduce_window"):
        return _size(given[0]) * (math.prod(params["window_dimensions"]) - 1)
    if name == "select_and_scatter_add":
        return _size(taken[0]) * math.prod(params["window_dimensions"])
    if name.startswith("scatter"):
        return _size(taken[2]) if _is_float(taken[2]) else 0
    if name in ("sort", "top_k"):
        size = taken[0].aval.shape[params.get("dimension", -1)]
        return _size(taken[0]) * max(1, math.ceil(math.log2(max(size, 1))))
    if name == "fft":
        points = math.prod(params["fft_lengths"])
        return int(5 * max(map(_size, (taken[0], given[0]))) * math.log2(max(points, 1)))
    return _linear_algebra(equation)


def _convolution_terms(equation: Any) -> int:
    """Products of a pixel and a weight."""
    params = equation.params
    numbers = params["dimension_numbers"]
    pictures, kernel = (variable.aval.shape for variable in equation.invars)
    outputs = equation.outvars[0].aval.shape
    pairs = 1
    for i in range(len(params["window_strides"])):
        size = pictures[numbers.lhs_spec[2 + i]]
        places = np.arange(outputs[numbers.out_spec[2 + i]]) * params["window_strides"][i]
        taps = np.arange(kernel[numbers.rhs_spec[2 + i]]) * params["rhs_dilation"][i]
        pixel, between = np.divmod(
            places[:, None] + taps[None] - params["padding"][i][0], params["lhs_dilation"][i]
        )
        pairs *= int(((between == 0) & (pixel >= 0) & (pixel < size)).sum())
    batch = pictures[numbers.lhs_spec[0]] // params["batch_group_count"]
    return pairs * batch * kernel[numbers.rhs_spec[0]] * kernel[numbers.rhs_spec[1]]


def _linear_algebra(equation: Any) -> int | None:
    """Leading terms, of all matrices of a batch; None for what is no linear algebra.

    Reference:
        Golub and Van Loan (2013), Matrix Computations, sections 3.1, 4.2, 5.2, 7.5, 8.3 and 8.6.
    """
    name = equation.primitive.name
    if name == "triangular_solve":
        sides = equation.invars[1].aval.shape
        return _size(equation.invars[1]) * sides[-2 if equation.params["left_side"] else -1]
    if name not in FACTORED:
        return None
    *batch, rows, columns = equation.invars[0].aval.shape
    each = FACTORED[name](max(rows, columns), min(rows, columns), len(equation.outvars) > 1)
    return int(math.prod(batch) * each)


# Of a matrix [m, n], m >= n, or [n, n]; of the last whether its vectors are asked for.
FACTORED: dict[str, Callable[[int, int, bool], float]] = {
    "cholesky": lambda m, n, vectors: n**3 / 3,
    "lu": lambda m, n, vectors: m * n**2 - n**3 / 3,
    "qr": lambda m, n, vectors: 4 * m * n**2 - 4 * n**3 / 3,
    "geqrf": lambda m, n, vectors: 2 * m * n**2 - 2 * n**3 / 3,
    "householder_product": lambda m, n, vectors: 2 * m * n**2 - 2 * n**3 / 3,
    "eigh": lambda m, n, vectors: 9 * n**3,
    "eig": lambda m, n, vectors: 25 * n**3,
    "schur": lambda m, n, vectors: 25 * n**3,
    "svd": lambda m, n, vectors: (
        14 * m * n**2 + 8 * n**3 if vectors else 4 * m * n**2 - 4 * n**3 / 3
    ),
}


def _multiply_add(variable: Any) -> int:
    return 8 if jnp.issubdtype(variable.aval.dtype, jnp.complexfloating) else 2


def _size(variable: Any) -> int:
    return math.prod(getattr(variable.aval, "shape", ()))


def _is_float(variable: Any) -> bool:
    dtype = getattr(variable.aval, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.inexact)
