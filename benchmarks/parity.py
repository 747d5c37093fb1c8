"""Do our methods take the steps of Optax, PyTorch and Keras? Measured, written to docs/parity.md.

Command:  make parity    (or: python -m benchmarks.parity)

All start at the same weights and get the same float64 gradients, of a quadratic and of a logistic
regression, for 1,000 steps. PyTorch and Keras are compared where they are installed.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from benchmarks.parity_pairs import DIFFERENCES, ROWS, WITHOUT_A_PEER, Call, Row
from initopt_jax.transforms import REGISTRY

STEPS, GOAL = 1000, 1e-6
PAGE = Path(__file__).parents[1] / "docs" / "parity.md"
LIBRARIES = {"Optax": "optax", "PyTorch": "torch", "Keras": "keras"}
HEAD = """# The same steps elsewhere

Which settings of Optax, PyTorch and Keras take the same steps as our methods, measured, and where
they differ by design. Made by

```
make parity                              # or: python -m benchmarks.parity
```

in the environment of the benchmarks, which has PyTorch; Keras is compared where it is installed
(`KERAS_BACKEND=jax`). Nothing below is typed by hand but the words on differences, which stand in
`benchmarks/parity_pairs.py`.

All start at the same weights and get the same gradients, of a quadratic of four weights and of a
logistic regression of eight, for {steps:,} steps in float64. The difference is the largest over all
steps and arrays of weights, relative to the array's norm; the goal is {goal:g}. Versions:
{versions}.
"""

# The problem -------------------------------------------------------------------------------------

CURVATURE = np.diag([0.1, 0.3, 1.0, 2.0]) + 0.05
CENTRE = np.array([1.0, -2.0, 0.5, 3.0])
# No weights divide these labels without error, so that the minimum is not at infinity.
INPUTS = np.random.default_rng(7).normal(size=(12, 3))
LABELS = np.random.default_rng(8).integers(2, size=(12, 2)).astype(float)
START = {
    "bias": np.array([-2.0, 2.0]),
    "quadratic": np.array([3.0, 0.1, -1.0, 0.2]),
    "weights": np.array([[2.0, -2.5], [-1.5, 3.0], [2.5, 1.5]]),
}


def gradients(params: dict[str, Any]) -> dict[str, Any]:
    """By hand, for arrays of NumPy and of JAX alike; in the order of the names."""
    logits = INPUTS @ params["weights"] + params["bias"][None, :]
    exp = jnp.exp if isinstance(logits, jax.Array) else np.exp
    errors = (1 / (1 + exp(-logits)) - LABELS) / len(LABELS)
    return {
        "bias": errors.sum(axis=0),
        "quadratic": CURVATURE @ (params["quadratic"] - CENTRE),
        "weights": INPUTS.T @ errors,
    }


def cost(params: dict[str, Any]) -> jax.Array:
    """What `gradients` are the gradients of."""
    logits = INPUTS @ params["weights"] + params["bias"][None, :]
    logistic = jnp.sum(jax.nn.softplus(logits) - LABELS * logits) / len(LABELS)
    offset = params["quadratic"] - CENTRE
    return offset @ CURVATURE @ offset / 2 + logistic


# Paths: float64 [T, ...] per array of weights, in the order of their names ------------------------


def path_of_optax(transform: optax.GradientTransformation, steps: int) -> list[np.ndarray]:
    """Ours or Optax's, in one compiled program."""
    extended = optax.with_extra_args_support(transform)

    def step(carry: Any, _: None) -> Any:
        params, state = carry
        g = gradients(params)
        updates, state = extended.update(
            g,
            state,
            params,
            value=cost(params),
            grad=g,
            value_fn=lambda params, key=None: cost(params),
            key=jax.random.key(0),
        )
        params = jax.tree.map(jnp.add, params, updates)
        return (params, state), params

    def run(params: Any) -> Any:
        return jax.lax.scan(step, (params, extended.init(params)), length=steps)[1]

    points = jax.jit(run)(jax.tree.map(jnp.asarray, START))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(points)]


def path_of_torch(make: Callable[[list[Any]], Any], steps: int) -> list[np.ndarray]:
    """PyTorch's, with the same gradients handed to it."""
    import torch

    leaves = [torch.nn.Parameter(torch.tensor(leaf)) for leaf in START.values()]
    optimizer, points = make(leaves), []
    for _ in range(steps):
        values = [leaf.detach().numpy().copy() for leaf in leaves]
        found = gradients(dict(zip(START, values, strict=True)))
        for leaf, g in zip(leaves, found.values(), strict=True):
            leaf.grad = torch.tensor(g)
        optimizer.step()
        points.append([leaf.detach().numpy().copy() for leaf in leaves])
    return [np.stack(of_leaf) for of_leaf in zip(*points, strict=True)]


def path_of_keras(make: Callable[[], Any], steps: int) -> list[np.ndarray]:
    """Keras's on JAX, in one compiled program."""
    import keras

    keras.config.set_floatx("float64")  # else the learning rate is a float32
    optimizer, variables = (
        make(),
        [keras.Variable(leaf, dtype="float64") for leaf in START.values()],
    )
    optimizer.build(variables)

    def step(carry: Any, _: None) -> Any:
        leaves, state = carry
        found = list(gradients(dict(zip(START, leaves, strict=True))).values())
        leaves, state = optimizer.stateless_apply(state, found, leaves)
        return (leaves, state), leaves

    def run(leaves: Any, state: Any) -> Any:
        return jax.lax.scan(step, (leaves, state), length=steps)[1]

    state = [variable.value for variable in optimizer.variables]
    return [np.asarray(leaf) for leaf in jax.jit(run)([v.value for v in variables], state)]


def built(call: Call, *first: Any) -> Any:
    """The object that a call makes; ours are named as in the registry."""
    arguments = [built(one) if isinstance(one, Call) else one for one in call.positional]
    if call.name in REGISTRY:
        return REGISTRY[call.name].make(*arguments, **call.named)
    module, _, rest = call.name.partition(".")
    found = importlib.import_module(module)
    for part in rest.split("."):
        found = getattr(found, part)
    return found(*first, *arguments, **call.named)


def path_of(library: str, call: Call, steps: int) -> list[np.ndarray]:
    if library == "PyTorch":
        return path_of_torch(lambda leaves: built(call, leaves), steps)
    if library == "Keras":
        return path_of_keras(lambda: built(call), steps)
    return path_of_optax(built(call), steps)


def difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """The largest over steps and arrays of weights, relative to the norm of theirs."""
    gaps = []
    for one, other in zip(ours, theirs, strict=True):
        flat = [leaf.reshape(len(leaf), -1) for leaf in (one, other)]
        gap = np.linalg.norm(flat[0] - flat[1], axis=1) / np.linalg.norm(flat[1], axis=1)
        gaps.append(gap.max())
    return float(np.max(gaps))


def measure(rows: Sequence[Row], libraries: Sequence[str], steps: int) -> list[dict[str, float]]:
    """Per row, library to largest difference."""
    found = []
    with jax.enable_x64(True):
        for row in rows:
            ours = path_of_optax(built(row.ours), steps)
            peers = {name: call for name, call in row.peers().items() if name in libraries}
            found.append(
                {name: difference(ours, path_of(name, call, steps)) for name, call in peers.items()}
            )
    return found


# The page ----------------------------------------------------------------------------------------


def table(rows: Sequence[Row], found: Sequence[dict[str, float]]) -> str:
    """A line per row and library."""
    lines = ["| ours | elsewhere | largest difference |", "| --- | --- | --- |"]
    for row, gaps in zip(rows, found, strict=True):
        for name, peer in row.peers().items():
            gap = f"{gaps[name]:.1e}" if name in gaps else "not installed"
            lines.append(f"| `{row.ours}` | `{peer}` | {gap} |")
    return "\n".join(lines)


def page(rows: Sequence[Row], found: Sequence[dict[str, float]], versions: str, steps: int) -> str:
    """The whole page."""
    parts = [HEAD.format(steps=steps, goal=GOAL, versions=versions), table(rows, found)]
    parts.append("\n## Where they differ\n")
    for method, libraries in DIFFERENCES.items():
        parts += [f"- `{method}`, {library}: {text}" for library, text in libraries.items()]
    parts.append("\n## Without a peer\n")
    parts += [f"- `{method}`: {why}" for method, why in WITHOUT_A_PEER.items()]
    return "\n".join(parts) + "\n"


def installed() -> dict[str, str]:
    """Library to its version, of those that are there."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    found = {}
    for library, module in LIBRARIES.items():
        try:
            found[library] = importlib.import_module(module).__version__
        except ModuleNotFoundError:
            continue
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--only", nargs="*", choices=[*REGISTRY], help="these methods")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    options = parser.parse_args(arguments)
    if options.steps <= 0:
        parser.error("--steps must be positive")
    console, libraries = Console(), installed()
    rows = [row for row in ROWS if not options.only or row.method in options.only]
    found = measure(rows, list(libraries), options.steps)
    wrong = False
    for row, gaps in zip(rows, found, strict=True):
        for library, gap in gaps.items():
            wrong |= not gap < GOAL
            verdict = "" if gap < GOAL else "  MISSED"
            console.print(
                f"{gap:.1e}  {row.ours}  {row.peers()[library]}{verdict}", highlight=False
            )
    if options.only:
        return int(wrong)
    versions = ", ".join(f"{library} {version}" for library, version in libraries.items())
    options.out.write_text(page(rows, found, versions, options.steps), encoding="utf-8")
    console.print(str(options.out))
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
