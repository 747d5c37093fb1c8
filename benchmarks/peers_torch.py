"""PyTorch's ways to train the same networks, each as its own documentation would write it."""

import contextlib
import itertools
import logging
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.pace import LEAST_WARM, WARM_UP, WARM_UP_SECONDS, Timed, index_batches, paced
from benchmarks.workloads import Case

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}
torch.backends.cudnn.allow_tf32 = False  # float32 means float32, as everywhere here


def threads_to_try() -> dict[str, int]:
    """One thread and all cores; a GPU leaves the host little to share."""
    counts = [1] if DEVICE.type == "cuda" else sorted({1, torch.get_num_threads()})
    return {f"{count} thread{'s' * (count > 1)}": count for count in counts}


def compiler_at_hand() -> bool:
    """Whether `torch.compile` can build code for this machine."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


def make_network(workload: Case, inputs: torch.Tensor) -> torch.nn.Module:
    """The workload's network for inputs [N, D] or [N, C, H, W]."""
    model = workload.model
    if model["name"] == "resnet":
        return ResNet9(inputs.shape[1], model["width"]).to(DEVICE)
    activation = ACTIVATIONS[model.get("activation", "relu")]
    layers: list[torch.nn.Module] = []
    width = inputs.shape[1]
    if not workload.is_mlp:
        side = inputs.shape[2]
        for channels in model["channels"]:
            layers += [
                torch.nn.Conv2d(width, channels, model["kernel"], padding="same"),
                activation(),
                torch.nn.MaxPool2d(model["pool"]),
            ]
            width, side = channels, side // model["pool"]
        layers.append(torch.nn.Flatten())
        width *= side * side
    for fan_in, fan_out in itertools.pairwise([width, *model["hidden"], 10]):
        layers += [torch.nn.Linear(fan_in, fan_out), activation()]
    return torch.nn.Sequential(*layers[:-1]).to(DEVICE)


class ResNet9(torch.nn.Module):
    """The residual network of nine layers, as `initopt_jax.models.resnet` with depth 9."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()

        def layer(fan_in: int, fan_out: int, *, pool: bool = False) -> list[torch.nn.Module]:
            kernel = torch.nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False)
            made = [kernel, torch.nn.BatchNorm2d(fan_out), torch.nn.ReLU(inplace=True)]
            return [*made, torch.nn.MaxPool2d(2)] if pool else made

        def branch(features: int) -> torch.nn.Sequential:
            return torch.nn.Sequential(*layer(features, features), *layer(features, features))

        self.first = torch.nn.Sequential(
            *layer(channels, width), *layer(width, 2 * width, pool=True)
        )
        self.residual_1 = branch(2 * width)
        self.middle = torch.nn.Sequential(
            *layer(2 * width, 4 * width, pool=True), *layer(4 * width, 8 * width, pool=True)
        )
        self.residual_3 = branch(8 * width)
        self.head = torch.nn.Linear(8 * width, 10)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        values = self.first(pictures)
        values = self.middle(values + self.residual_1(values))
        values = values + self.residual_3(values)
        return self.head(values.amax((2, 3)))


def make_optimizer(workload: Case, params: Any, *, fused: bool) -> torch.optim.Optimizer:
    options = dict(workload.optimizer)
    rate = options.pop("learning_rate")
    if options.pop("name") == "adam":
        return torch.optim.Adam(params, lr=rate, fused=fused)
    return torch.optim.SGD(params, lr=rate, momentum=options["decay"], fused=fused)


def tensors(workload: Case, *, channels_last: bool = False) -> tuple[torch.Tensor, ...]:
    """The training split where training runs; pictures as [N, C, H, W]."""
    inputs, targets = (torch.from_numpy(array) for array in workload.arrays())
    if not workload.is_mlp:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        inputs = inputs.permute(0, 3, 1, 2).contiguous(memory_format=layout)
    return inputs.to(DEVICE), targets.long().to(DEVICE)


def precision(workload: Case) -> Any:
    """Where asked for, bfloat16 the PyTorch way."""
    if workload.dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(DEVICE.type, dtype=getattr(torch, workload.dtype))


def finish() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def with_threads(threads: int, build: Callable[[], Callable[[], None]], each: int = 1) -> Timed:
    """A timed loop over a step built at the first call; `each` networks advance by one step."""
    built = cache(build)

    def timed(seconds: float) -> float:
        torch.set_num_threads(threads)
        return each * paced(built(), finish, seconds)

    return timed


def make_torch_loop(
    workload: Case,
    threads: int,
    *,
    fused: bool = False,
    compiled: bool = False,
    channels_last: bool = False,
) -> Timed:
    """The plain training loop: batches are rows of a tensor in memory, no DataLoader."""

    def build() -> Callable[[], None]:
        inputs, targets = tensors(workload, channels_last=channels_last)
        model = make_network(workload, inputs)
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
        optimizer = make_optimizer(workload, model.parameters(), fused=fused)
        batches = index_batches(len(inputs), workload.batch, seed=0)

        def cost(batch: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            with precision(workload):
                return torch.nn.functional.cross_entropy(model(batch), labels)

        # A function of its own for each variant: recompilation limits count per function.
        loss_of = torch.compile(cost) if compiled else cost

        def step() -> None:
            rows = torch.from_numpy(next(batches)).to(DEVICE)
            loss = loss_of(inputs[rows], targets[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        return step

    return with_threads(threads, build)


def make_torch_vmap(
    workload: Case, networks: int, threads: int, *, compiled: bool = False
) -> Timed:
    """Several networks at once: `vmap` of `grad` over stacked parameters, each on its own batch.

    The optimizer is PyTorch's fused one on the stacked leaves, which is the same update.
    """

    def build() -> Callable[[], None]:
        inputs, targets = tensors(workload)
        models = [make_network(workload, inputs) for _ in range(networks)]
        stacked, _ = torch.func.stack_module_state(models)
        params = {name: leaf.detach() for name, leaf in stacked.items()}
        optimizer = make_optimizer(workload, list(params.values()), fused=True)
        batches = index_batches(len(inputs), workload.batch, seed=0)

        def cost(params: Any, batch: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            with precision(workload):
                outputs = torch.func.functional_call(models[0], params, (batch,))
                return torch.nn.functional.cross_entropy(outputs, labels)

        gradients = torch.func.vmap(torch.func.grad(cost))
        gradients = torch.compile(gradients) if compiled else gradients

        def step() -> None:
            rows = torch.stack([torch.from_numpy(next(batches)) for _ in range(networks)])
            rows = rows.to(DEVICE)
            with torch.no_grad():
                grads = gradients(params, inputs[rows], targets[rows])
            for name, leaf in params.items():
                leaf.grad = grads[name]
            optimizer.step()

        return step

    return with_threads(threads, build, each=networks)


# Lightning ---------------------------------------------------------------------------------------


class LitNetwork(lightning.LightningModule):
    """The same network the Lightning way."""

    def __init__(self, workload: Case, inputs: torch.Tensor) -> None:
        super().__init__()
        self.workload = workload
        self.model = make_network(workload, inputs)

    def training_step(self, batch: Sequence[torch.Tensor], batch_idx: int) -> torch.Tensor:
        inputs, targets = batch
        return torch.nn.functional.cross_entropy(self.model(inputs), targets)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return make_optimizer(self.workload, self.parameters(), fused=False)


class Pace(lightning.Callback):
    """Counts the steps once warm, and stops the trainer when the time is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.made, self.warm_at = seconds, time.perf_counter(), 0.0
        self.elapsed, self.all, self.steps = 0.0, 0, 0

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        now = time.perf_counter()
        self.all += 1
        if self.warm_at:
            self.steps += 1
            self.elapsed = now - self.warm_at
            trainer.should_stop = self.elapsed >= self.seconds
        elif self.all >= LEAST_WARM and (self.all >= WARM_UP or now - self.made > WARM_UP_SECONDS):
            self.warm_at = now


def make_lightning(workload: Case, threads: int) -> Timed:
    """`Trainer.fit` with all that is optional switched off."""

    def timed(seconds: float) -> float:
        torch.set_num_threads(threads)
        inputs, targets = (torch.from_numpy(array) for array in workload.arrays())
        data = TensorDataset(inputs, targets.long())
        batches = DataLoader(data, batch_size=workload.batch, shuffle=True, drop_last=True)
        pace = Pace(seconds)
        trainer = lightning.Trainer(
            accelerator="gpu" if DEVICE.type == "cuda" else "cpu",
            devices=1,
            precision="bf16-mixed" if workload.dtype == "bfloat16" else "32-true",
            max_epochs=-1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[pace],
        )
        with quiet():
            trainer.fit(LitNetwork(workload, inputs), batches)
        return pace.steps / pace.elapsed

    return timed


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lightning advises on loggers and workers at each fit; the settings here are on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        yield
