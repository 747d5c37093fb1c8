"""What a network is trained on, and with what: one record, made once and passed whole."""

import math
from dataclasses import dataclass

import jax
import numpy as np

from initopt_jax.engine.initial import InitialStates
from initopt_jax.models import network_in
from initopt_jax.networks.network import Network
from initopt_jax.precision import Precision
from initopt_jax.types import Dataset, Model, PyTree, Task


@dataclass(frozen=True)
class Workload:
    """What all lanes of a study have in common.

    Attributes:
        model: as it trains.
        plain: the model in the dtype of its weights, as initializers see it.
        task: its loss, its metrics.
        dataset: what it learns.
        params: shapes of one network's parameters.
        model_state: the model's first mutable state, that of the first seed.
        states: that of every seed, `stacked(init_seeds [W]) -> model state [W, ...]`.
        network: `plain` in its first state, on the training data; initializers and probes see it.
        precision: dtypes of weights and of what is computed in between.
    """

    model: Model
    plain: Model
    task: Task
    dataset: Dataset
    params: PyTree
    model_state: PyTree
    states: InitialStates
    network: Network
    precision: Precision

    @property
    def examples(self) -> int:
        """How many training examples there are."""
        return len(self.dataset.train.inputs)

    @property
    def parameters(self) -> int:
        """How many weights one network has."""
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.params))

    @property
    def param_dtype(self) -> np.dtype:
        """The dtype of weights, optimizer state, losses and results."""
        return np.dtype(self.precision.wide)

    def network_of(self, seed: int) -> Network:
        """The network in its first state under an init seed."""
        if not self.states.random:
            return self.network
        batch = self.network.inputs, self.network.targets
        return network_in(self.network, self.plain, self.states(seed), *batch)
