"""What is trained: four networks, each as one description for all contenders."""

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from initopt_jax.data import SplitSpec, load
from initopt_jax.data.arrays import from_splits
from initopt_jax.errors import ConfigError
from initopt_jax.types import Dataset, Split

HELD_OUT = 256  # images held out for each evaluation: training is what is compared
STAND_IN_SEED = 0
DTYPES = ("float32", "bfloat16")  # of the computation


@dataclass(frozen=True, eq=False)  # by identity: dictionaries have no hash
class Case:
    """A network, its data and its optimizer.

    Attributes:
        title: what is trained, for people.
        dataset: as a config names it.
        model: as a config names it; the peers build the same network from it.
        optimizer: likewise.
        steps: of each network in the engine's study.
        goals: contender to how many times faster the engine should be.
        share_goal: the share of the matrix-product rate that the engine should reach.
        share_aim: likewise, but missing it is no failure.
    """

    name: str
    title: str
    dataset: dict[str, Any]
    model: dict[str, Any]
    optimizer: dict[str, Any]
    batch: int
    steps: int
    goals: dict[str, float] = field(default_factory=dict)
    share_goal: float | None = None
    share_aim: float | None = None

    @property
    def dtype(self) -> str:
        """Of the computation; parameters are float32."""
        return self.model.get("dtype", "float32")

    def data(self) -> Dataset:
        """What everyone trains on."""
        module, _, function = self.dataset["name"].partition(":")
        if module == __name__:
            return globals()[function]()
        return load(self.dataset, kind="classification", split=SplitSpec())

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """The training split: inputs, flat for an MLP and [N, H, W, C] otherwise, and labels."""
        inputs, targets = self.data().train
        return (inputs.reshape(len(inputs), -1) if self.is_mlp else inputs), targets

    @property
    def is_mlp(self) -> bool:
        """Whether the network is a plain MLP."""
        return self.model["name"] == "mlp"

    def with_model(self, **options: Any) -> "Case":
        """The same with other options of the model."""
        return replace(self, model=self.model | options)


@cache
def mnist(train: int = 60_000) -> Dataset:
    """MNIST where TFDS_DATA_DIR holds it, else random pictures and labels of its shape.

    Validation and test are cut to HELD_OUT examples. Speed does not depend on what is in the
    pictures; `describe_data` says which of the two it was.
    """
    try:
        found = load(
            {"name": "tfds:mnist"},
            kind="classification",
            split=SplitSpec(val=HELD_OUT / 60_000, test=0.2),
        )
    except ConfigError:
        return stand_in(train)
    held_out = (Split(*(part[:HELD_OUT] for part in split)) for split in (found.val, found.test))
    return from_splits(
        found.name, found.train, *held_out, kind="classification", outputs=10, normalize=False
    )


@cache
def stand_in(train: int = 60_000) -> Dataset:
    """Seeded noise and labels in the shape of MNIST."""
    return _noise("random stand-in of MNIST's shape", (28, 28, 1), train)


@cache
def small_pictures() -> Dataset:
    """Seeded noise and labels in the shape of CIFAR-10's pictures, 4,096 of them."""
    return _noise("random pictures of CIFAR-10's shape", (32, 32, 3), 4096)


def _noise(name: str, shape: tuple[int, ...], train: int) -> Dataset:
    random = np.random.default_rng(STAND_IN_SEED)

    def draw(count: int) -> Split:
        pictures = random.standard_normal((count, *shape), dtype=np.float32)
        return Split(pictures, random.integers(0, 10, count).astype(np.int32))

    parts = draw(train - HELD_OUT), draw(HELD_OUT), draw(HELD_OUT)
    return from_splits(name, *parts, kind="classification", outputs=10, normalize=False)


def digits_mlp(hidden: int = 64, **options: Any) -> Case:
    """The MLP 64-h-h-10 on the digits that come with scikit-learn."""
    return Case(
        name="digits",
        title=f"digits MLP 64-{hidden}-{hidden}-10, tanh, batch 64, Adam",
        dataset={"name": "digits"},
        model={"name": "mlp", "hidden": [hidden, hidden], "activation": "tanh", **options},
        optimizer={"name": "adam", "learning_rate": 1e-3},
        batch=64,
        steps=1000,
        goals={
            "Lightning": 50,
            "PyTorch loop": 25,
            "torch.func vmap of 16": 6,
            "JAX, one jitted step per call": 10,
            "initopt-jax, one device": 1.9,
        },
    )


def mnist_mlp(*, generated: bool = False, **options: Any) -> Case:
    """The MLP 784-300-100-10; with `generated`, on the stand-in whether or not MNIST is there."""
    source = "stand_in" if generated else "mnist"
    return Case(
        name="mnist",
        title="MNIST MLP 784-300-100-10, relu, batch 128, momentum",
        dataset={"name": f"{__name__}:{source}"},
        model={"name": "mlp", "hidden": [300, 100], "activation": "relu", **options},
        optimizer={"name": "momentum", "learning_rate": 0.01, "decay": 0.9},
        batch=128,
        steps=400,
        goals={"PyTorch loop": 2.2},
        share_goal=0.7,
    )


def mnist_cnn(**options: Any) -> Case:
    """Two convolutions of 3 x 3 with pooling, then 64 hidden units."""
    return Case(
        name="cnn",
        title="MNIST CNN 16-32-64-10, relu, batch 64, momentum",
        dataset={"name": f"{__name__}:mnist"},
        model={
            "name": "cnn",
            "channels": [16, 32],
            "kernel": 3,
            "pool": 2,
            "hidden": [64],
            "convolution": "auto",
            **options,
        },
        optimizer={"name": "momentum", "learning_rate": 0.01, "decay": 0.9},
        batch=64,
        steps=200,
        goals={"PyTorch loop": 2, "initopt-jax, stock convolution": 10},
        share_aim=0.5,
    )


def small_resnet(width: int = 16, **options: Any) -> Case:
    """ResNet-9 with a quarter of the usual channels: its steps fit a benchmark's patience."""
    return Case(
        name="resnet",
        title=f"ResNet-9 of width {width} on 32 x 32 x 3, batch norm, batch 64, momentum",
        dataset={"name": f"{__name__}:small_pictures"},
        model={"name": "resnet", "depth": 9, "width": width, **options},
        optimizer={"name": "momentum", "learning_rate": 0.01, "decay": 0.9},
        batch=64,
        steps=20,
        goals={"PyTorch loop": 1},
    )


WORKLOADS = {"digits": digits_mlp, "mnist": mnist_mlp, "cnn": mnist_cnn}
