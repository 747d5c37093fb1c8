"""The loops that the engine is compared with, each as its own documentation would write it.

A maker returns a function of seconds that trains the digits MLP for about so long and returns
steps per second; see `throughput.py`.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import lightning
import numpy as np
import optax
import torch
from torch.utils.data import DataLoader, TensorDataset

from initopt_jax.data import SplitSpec, load

WIDTHS = (64, 64, 64, 10)
BATCH = 64
LEARNING_RATE = 1e-3
WARM_UP = 50  # steps before the clock starts

Timed = Callable[[float], float]


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The training split that all contenders use: inputs [1078, 64], labels [1078]."""
    train = load({"name": "digits"}, kind="classification", split=SplitSpec()).train
    return train.inputs.reshape(len(train.inputs), -1), train.targets


def index_batches(examples: int, seed: int) -> Iterator[np.ndarray]:
    """Epoch after epoch of shuffled example numbers, in whole batches."""
    random = np.random.default_rng(seed)
    whole = examples // BATCH
    while True:
        yield from random.permutation(examples)[: whole * BATCH].reshape(whole, BATCH)


def paced(step: Callable[[], None], finish: Callable[[], None], seconds: float) -> float:
    """Steps per second of `step`, once warm; `finish` waits for what still runs."""
    for _ in range(WARM_UP):
        step()
    finish()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        for _ in range(50):
            step()
        steps += 50
    finish()
    return steps / (time.perf_counter() - began)


# PyTorch and Lightning ---------------------------------------------------------------------------


def torch_mlp() -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(WIDTHS):
        layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers[:-1])


def make_torch_loop(threads: int, *, fused: bool) -> Timed:
    """The plain training loop: batches are rows of a tensor in memory, no DataLoader."""

    def timed(seconds: float) -> float:
        torch.set_num_threads(threads)
        inputs, targets = (torch.from_numpy(array) for array in digits())
        targets = targets.long()
        model = torch_mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=fused)
        batches = index_batches(len(inputs), seed=0)

        def step() -> None:
            batch = torch.from_numpy(next(batches))
            loss = torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return paced(step, lambda: None, seconds)

    return timed


class LitMlp(lightning.LightningModule):
    """The same network the Lightning way."""

    def __init__(self) -> None:
        super().__init__()
        self.model = torch_mlp()

    def training_step(self, batch: Sequence[torch.Tensor], batch_idx: int) -> torch.Tensor:
        inputs, targets = batch
        return torch.nn.functional.cross_entropy(self.model(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=LEARNING_RATE)


class Pace(lightning.Callback):
    """Counts the steps after the first WARM_UP and stops the trainer when the time is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.began, self.elapsed, self.steps = seconds, 0.0, 0.0, -WARM_UP

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.steps += 1
        if self.steps <= 0:
            self.began = time.perf_counter()
            return
        self.elapsed = time.perf_counter() - self.began
        trainer.should_stop = self.elapsed >= self.seconds


def make_lightning(threads: int) -> Timed:
    """`Trainer.fit` with all that is optional switched off."""

    def timed(seconds: float) -> float:
        torch.set_num_threads(threads)
        inputs, targets = (torch.from_numpy(array) for array in digits())
        data = TensorDataset(inputs, targets.long())
        batches = DataLoader(data, batch_size=BATCH, shuffle=True, drop_last=True)
        pace = Pace(seconds)
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[pace],
        )
        trainer.fit(LitMlp(), batches)
        return pace.steps / pace.elapsed

    return timed


# JAX, one jitted step per call -------------------------------------------------------------------


def jax_mlp(params: list[tuple[jax.Array, jax.Array]], inputs: jax.Array) -> jax.Array:
    *hidden, (kernel, bias) = params
    for weights, offset in hidden:
        inputs = jnp.tanh(inputs @ weights + offset)
    return inputs @ kernel + bias


def jax_params(seed: int) -> list[tuple[jax.Array, jax.Array]]:
    keys = jax.random.split(jax.random.key(seed), len(WIDTHS) - 1)
    draw = jax.nn.initializers.glorot_uniform()
    return [
        (draw(key, (fan_in, fan_out)), jnp.zeros(fan_out))
        for key, fan_in, fan_out in zip(keys, WIDTHS[:-1], WIDTHS[1:], strict=True)
    ]


def jax_cost(params: Any, inputs: Any, targets: Any) -> jax.Array:
    logits = jax_mlp(params, inputs)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, targets))


def make_jax_loop(*, on_device: bool) -> Timed:
    """The usual JAX loop: one call of a jitted, donating step per batch.

    The batch is cut on the host, or, with `on_device`, inside the step from data that lie there.
    """
    optimizer = optax.adam(LEARNING_RATE)

    def step(params: Any, state: Any, inputs: Any, targets: Any) -> tuple[Any, Any, jax.Array]:
        loss, grads = jax.value_and_grad(jax_cost)(params, inputs, targets)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    def step_on_rows(
        params: Any, state: Any, inputs: Any, targets: Any, rows: Any
    ) -> tuple[Any, Any, jax.Array]:
        return step(params, state, inputs[rows], targets[rows])

    jitted = jax.jit(step_on_rows if on_device else step, donate_argnums=(0, 1))

    def timed(seconds: float) -> float:
        inputs, targets = map(jnp.asarray, digits()) if on_device else digits()
        batches = index_batches(len(inputs), seed=0)
        params = jax_params(0)
        held = (params, optimizer.init(params))

        def once() -> None:
            nonlocal held
            rows = next(batches).astype(np.int32)
            batch = (inputs, targets, rows) if on_device else (inputs[rows], targets[rows])
            held = jitted(*held, *batch)[:2]

        return paced(once, lambda: jax.block_until_ready(held), seconds)

    return timed
