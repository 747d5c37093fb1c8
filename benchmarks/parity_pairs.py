"""Which settings of Optax, PyTorch and Keras make each of our methods, and where they differ."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """A function by its dotted name, with arguments that may be calls themselves."""

    name: str
    positional: tuple[Any, ...]
    named: Mapping[str, Any]

    def __str__(self) -> str:
        """As it is written in Python."""
        named = [f"{key}={value!r}" for key, value in self.named.items()]
        return f"{self.name}({', '.join([*map(str, self.positional), *named])})"

    def __repr__(self) -> str:
        """The same."""
        return str(self)


def call(name: str, *positional: Any, **named: Any) -> Call:
    return Call(name, positional, named)


@dataclass(frozen=True)
class Row:
    """One setting of one of our methods, and who takes the same steps with which setting."""

    method: str
    ours: Call
    optax: Call | None = None
    torch: Call | None = None
    keras: Call | None = None

    def peers(self) -> dict[str, Call]:
        """Library to its call."""
        found = {"Optax": self.optax, "PyTorch": self.torch, "Keras": self.keras}
        return {library: peer for library, peer in found.items() if peer}


def row(method: str, named: Mapping[str, Any], **peers: Call) -> Row:
    return Row(method, call(method, **named), **peers)


ROWS = (
    row(
        "gd",
        {"learning_rate": 0.1},
        optax=call("optax.sgd", 0.1),
        torch=call("torch.optim.SGD", lr=0.1),
        keras=call("keras.optimizers.SGD", 0.1),
    ),
    row(
        "sgd",
        {"learning_rate": 0.1},
        optax=call("optax.sgd", 0.1),
        torch=call("torch.optim.SGD", lr=0.1),
        keras=call("keras.optimizers.SGD", 0.1),
    ),
    row(
        "momentum",
        {"learning_rate": 0.02, "decay": 0.9},
        optax=call("optax.sgd", 0.02, momentum=0.9),
        torch=call("torch.optim.SGD", lr=0.02, momentum=0.9),
        keras=call("keras.optimizers.SGD", 0.02, momentum=0.9),
    ),
    row(
        "momentum",
        {"learning_rate": 0.1, "decay": 0.9, "ema": True},
        optax=call("optax.chain", call("optax.ema", 0.9, debias=False), call("optax.scale", -0.1)),
    ),
    row(
        "nesterov",
        {"learning_rate": 0.02, "decay": 0.9},
        optax=call("optax.sgd", 0.02, momentum=0.9, nesterov=True),
        torch=call("torch.optim.SGD", lr=0.02, momentum=0.9, nesterov=True),
        keras=call("keras.optimizers.SGD", 0.02, momentum=0.9, nesterov=True),
    ),
    row(
        "adagrad",
        {"learning_rate": 0.1, "eps": 1e-8},
        torch=call("torch.optim.Adagrad", lr=0.1, eps=1e-8),
    ),
    row(
        "adagrad",
        {"learning_rate": 0.1, "eps": 0.0, "initial_accumulator": 0.1},
        optax=call("optax.adagrad", 0.1, initial_accumulator_value=0.1, eps=0.0),
        torch=call("torch.optim.Adagrad", lr=0.1, initial_accumulator_value=0.1, eps=0.0),
        keras=call("keras.optimizers.Adagrad", 0.1, initial_accumulator_value=0.1, epsilon=0.0),
    ),
    row(
        "adadelta",
        {"learning_rate": 1.0, "rho": 0.95, "eps": 1e-6},
        optax=call("optax.adadelta", 1.0, rho=0.95, eps=1e-6),
        torch=call("torch.optim.Adadelta", lr=1.0, rho=0.95, eps=1e-6),
        keras=call("keras.optimizers.Adadelta", 1.0, rho=0.95, epsilon=1e-6),
    ),
    row(
        "rmsprop",
        {"learning_rate": 0.0002, "decay": 0.9, "eps": 1e-8},
        optax=call("optax.rmsprop", 0.0002, decay=0.9, eps=1e-8, eps_in_sqrt=False),
        torch=call("torch.optim.RMSprop", lr=0.0002, alpha=0.9, eps=1e-8),
    ),
    row(
        "rmsprop",
        {"learning_rate": 0.0002, "decay": 0.9, "eps": 0.0},
        keras=call("keras.optimizers.RMSprop", 0.0002, rho=0.9, epsilon=0.0),
    ),
    row(
        "rmsprop",
        {"learning_rate": 0.0001, "decay": 0.95, "eps": 1e-4, "centered": True},
        optax=call("optax.rmsprop", 0.0001, decay=0.95, eps=1e-4, centered=True),
        keras=call("keras.optimizers.RMSprop", 0.0001, rho=0.95, epsilon=1e-4, centered=True),
    ),
    row(
        "adam",
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8},
        optax=call("optax.adam", 0.001, b1=0.9, b2=0.999, eps=1e-8),
        torch=call("torch.optim.Adam", lr=0.001, betas=(0.9, 0.999), eps=1e-8),
    ),
    row(
        "adam",
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 0.0},
        keras=call("keras.optimizers.Adam", 0.001, beta_1=0.9, beta_2=0.999, epsilon=0.0),
    ),
    row(
        "momentum_dampened",
        {"learning_rate": 0.02, "decay": 0.9, "dampening": 0.5},
        torch=call("torch.optim.SGD", lr=0.02, momentum=0.9, dampening=0.5),
    ),
    row(
        "sign_descent",
        {"learning_rate": 0.001},
        optax=call("optax.sign_sgd", 0.001),
    ),
    row(
        "signum",
        {"learning_rate": 0.001, "decay": 0.9},
        optax=call(
            "optax.chain",
            call("optax.ema", 0.9, debias=False),
            call("optax.scale_by_sign"),
            call("optax.scale", -0.001),
        ),
    ),
    row(
        "adagrad_optax",
        {"learning_rate": 0.1, "eps": 1e-7, "initial_accumulator": 0.1},
        optax=call("optax.adagrad", 0.1, initial_accumulator_value=0.1, eps=1e-7),
    ),
    row(
        "adagrad_torch",
        {"learning_rate": 0.1, "lr_decay": 0.01, "eps": 1e-10},
        torch=call("torch.optim.Adagrad", lr=0.1, lr_decay=0.01, eps=1e-10),
    ),
    row(
        "rmsprop_graves",
        {"learning_rate": 1e-4, "decay": 0.95, "momentum": 0.9, "eps": 1e-4},
        optax=call("optax.rmsprop", 1e-4, decay=0.95, eps=1e-4, centered=True, momentum=0.9),
        keras=call(
            "keras.optimizers.RMSprop", 1e-4, rho=0.95, epsilon=1e-4, centered=True, momentum=0.9
        ),
    ),
    row(
        "rmsprop_torch",
        {"learning_rate": 1e-4, "decay": 0.95, "eps": 1e-4, "momentum": 0.9, "centered": True},
        torch=call(
            "torch.optim.RMSprop", lr=1e-4, alpha=0.95, eps=1e-4, momentum=0.9, centered=True
        ),
    ),
    row(
        "amsgrad",
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "bias_correction": True},
        torch=call("torch.optim.Adam", lr=0.001, betas=(0.9, 0.999), eps=1e-8, amsgrad=True),
    ),
    row(
        "amsgrad",
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 0.0, "bias_correction": True},
        keras=call("keras.optimizers.Adam", 0.001, epsilon=0.0, amsgrad=True),
    ),
    row(
        "adamax",
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999},
        optax=call("optax.adamax", 0.001, b1=0.9, b2=0.999, eps=0.0),
        torch=call("torch.optim.Adamax", lr=0.001, betas=(0.9, 0.999), eps=0.0),
        keras=call("keras.optimizers.Adamax", 0.001, beta_1=0.9, beta_2=0.999, epsilon=0.0),
    ),
    row(
        "nadam",
        {"learning_rate": 0.001, "momentum_decay": 0.004, "eps": 1e-8, "torch": True},
        torch=call("torch.optim.NAdam", lr=0.001, eps=1e-8, momentum_decay=0.004),
    ),
    row(
        "nadam",
        {"learning_rate": 0.001, "momentum_decay": 1.0, "eps": 1e-8, "torch": True},
        keras=call("keras.optimizers.Nadam", 0.001, epsilon=1e-8),
    ),
    row(
        "nadam_optax",
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8},
        optax=call("optax.nadam", 0.001, b1=0.9, b2=0.999, eps=1e-8),
    ),
    row(
        "adamw",
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 0.1},
        optax=call("optax.adamw", 0.001, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.1),
        torch=call("torch.optim.AdamW", lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1),
    ),
    row(
        "adamw",
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 0.0, "weight_decay": 0.1},
        keras=call("keras.optimizers.AdamW", 0.001, epsilon=0.0, weight_decay=0.1),
    ),
    row(
        "adamw_paper",
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 1e-4},
        optax=call("optax.adamw", 0.001, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.1),
        torch=call("torch.optim.AdamW", lr=0.001, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1),
    ),
    row(
        "adabelief",
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8},
        optax=call("optax.adabelief", 0.001, b1=0.9, b2=0.999, eps=1e-8, eps_root=1e-8),
    ),
    row(
        "novograd",
        {"learning_rate": 0.001, "b1": 0.95, "b2": 0.98, "eps": 1e-8, "weight_decay": 0.1},
        optax=call("optax.novograd", 0.001, b1=0.95, b2=0.98, eps=1e-8, weight_decay=0.1),
    ),
    row(
        "lion",
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.99, "weight_decay": 0.1},
        optax=call("optax.lion", 0.001, b1=0.9, b2=0.99, weight_decay=0.1),
        keras=call("keras.optimizers.Lion", 0.001, beta_1=0.9, beta_2=0.99, weight_decay=0.1),
    ),
    row(
        "lars",
        {"learning_rate": 0.5, "decay": 0.9, "weight_decay": 0.0, "trust_coefficient": 0.001},
        optax=call("optax.lars", 0.5, momentum=0.9, weight_decay=0.0, trust_coefficient=0.001),
    ),
    row(
        "lamb",
        {"learning_rate": 0.0002, "b1": 0.9, "b2": 0.999, "eps": 1e-6, "weight_decay": 0.01},
        optax=call("optax.lamb", 0.0002, b1=0.9, b2=0.999, eps=1e-6, weight_decay=0.01),
    ),
    row(
        "lamb",
        {"learning_rate": 0.0002, "b1": 0.9, "b2": 0.999, "eps": 1e-6, "weight_decay": 0.0},
        keras=call("keras.optimizers.Lamb", 0.0002, beta_1=0.9, beta_2=0.999, epsilon=1e-6),
    ),
    row(
        "adafactor",
        {"learning_rate": 0.001},
        optax=call("optax.adafactor", 0.001, min_dim_size_to_factor=1),
        torch=call("torch.optim.Adafactor", lr=0.001, eps=(1e-30, 1e-3)),
        keras=call("keras.optimizers.Adafactor", 0.001),
    ),
    row(
        "muon",
        {"learning_rate": 0.0005, "decay": 0.95, "b2": 0.95, "nesterov": False},
        optax=call("optax.contrib.muon", 0.0005, beta=0.95, adam_b2=0.95, nesterov=False),
    ),
    row(
        "schedule_free_sgd",
        {"learning_rate": 0.1, "b1": 0.9},
        optax=call("optax.contrib.schedule_free_sgd", 0.1, b1=0.9),
    ),
    row(
        "schedule_free_adam",
        {"learning_rate": 0.001, "b1": 0.9, "b2": 0.999, "eps": 1e-8},
        optax=call("optax.contrib.schedule_free_adamw", 0.001, b1=0.9, b2=0.999, eps=1e-8),
    ),
    row(
        "lbfgs",
        {"memory": 10},
        optax=call("optax.lbfgs", memory_size=10),
    ),
)

# Method, then library, to what no setting makes equal, or what a setting hides.
DIFFERENCES = {
    "momentum": {
        "Optax": "multiplies by the learning rate after the velocity, ours before: with a schedule "
        "the paths differ.",
        "PyTorch": "as Optax. `dampening` is left out at the first step, so that it makes no "
        "`ema=True`.",
        "Keras": "as ours, under a schedule too. It has no `ema=True`: its `use_ema` averages "
        "weights.",
    },
    "nesterov": {
        "Optax": "multiplies by the learning rate after the velocity, as in momentum.",
        "PyTorch": "as Optax.",
    },
    "adagrad": {
        "Optax": "eps stands inside the root, so that only eps = 0 is equal; its accumulator "
        "starts at 0.1, ours and the paper's at 0.",
        "PyTorch": "`lr_decay` is not in the paper.",
        "Keras": "as Optax.",
    },
    "adadelta": {
        "Optax": "rho is 0.9 by default; without a learning rate the sign is not turned.",
        "Keras": "the learning rate is 0.001 by default, where the paper has none (1).",
    },
    "rmsprop": {
        "Optax": "eps stands inside the root by default.",
        "PyTorch": "alpha is 0.99 by default; centred, eps stands outside the root, ours inside, "
        "as in Graves.",
        "Keras": "eps stands inside the root, so that only eps = 0 is equal, or the centred form.",
    },
    "adam": {
        "Keras": "eps is added before the bias correction (the paper's epsilon hat), so that only "
        "eps = 0 is equal.",
    },
    "momentum_dampened": {"Optax": "has no dampening.", "Keras": "has no dampening."},
    "amsgrad": {
        "Optax": "takes the maximum of the corrected second moments, which is neither the paper's "
        "nor PyTorch's form.",
        "PyTorch": "corrects for the start at 0; the paper, and so our default, does not.",
        "Keras": "as PyTorch, with eps added before the correction.",
    },
    "nadam": {
        "Optax": "its momentum stays the same: `nadam_optax`.",
        "PyTorch": "the mean has a constant decay, and the root no factor b2: `torch=True`.",
        "Keras": "as PyTorch, with a momentum that grows 250 times as fast.",
    },
    "adamw_paper": {
        "Optax": "multiplies the decay by the learning rate: theirs is ours divided by it.",
        "PyTorch": "as Optax.",
    },
    "adabelief": {"Optax": "has two numbers in place of eps, both 1e-16 by default."},
    "lion": {"Optax": "decays weights by 0.001 by default, ours by 0."},
    "lars": {
        "Optax": "divides by the norm of `g + weight_decay * theta`, ours and the paper by the sum "
        "of the two norms, so that only weight_decay = 0 is equal.",
    },
    "adafactor": {
        "Optax": "the learning rate is not held below `t^-0.5`: equal while that is above it. By "
        "default it factors no axis shorter than 128.",
    },
    "muon": {
        "Optax": "corrects the velocity for its start at 0. Newton-Schulz does not feel it, but "
        "with `nesterov` the gradient then counts otherwise.",
        "PyTorch": "`torch.optim.Muon` takes matrices alone, and its weight decay is 0.1 by "
        "default.",
    },
    "schedule_free_sgd": {
        "Optax": "weighs by the largest learning rate so far, ours by the present one: under a "
        "schedule that falls the averages differ.",
    },
    "lbfgs": {
        "Optax": "ours is Optax's arithmetic, on one vector of all weights. Where weights run to "
        "infinity, both end in noise of their own.",
        "PyTorch": "`torch.optim.LBFGS` makes up to 20 iterations per step, with a line search of "
        "its own.",
    },
}

# Methods that none of the three takes the same steps as.
WITHOUT_A_PEER = {
    "sutskever_momentum": "none of the three has its schedule of momentum.",
    "nesterov_1983": "none of the three has its sequence of momentum.",
    "qhm": "none of the three has it.",
    "aggmo": "none of the three has it.",
    "qhadam": "none of the three has it.",
    "adagrad_full": "all three have diagonal matrices only.",
    "radam": "PyTorch and `optax.radam` rectify from an average length of 5 on, the paper from 4: "
    "with the default `b2` that is one step later, and the paths part there.",
    "yogi": "`optax.yogi` corrects both moments for a start at 0, where they start at 1e-6; the "
    "paper's algorithm corrects neither.",
    "shampoo": "none of the three has it.",
    "soap": "none of the three has it.",
    "prodigy": "`optax.contrib.prodigy` corrects for the start of the moments at 0, divides the "
    "sums by the first distance, and takes the new distance in `d * eps`.",
    "sam": "`optax.contrib.sam` spreads a step over several calls, with another batch each; for "
    "one call it wants the gradient function by another name.",
    "gradient_flow": "none of the three has it.",
}
