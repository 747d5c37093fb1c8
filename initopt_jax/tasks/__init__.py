"""Losses and metrics by name."""

from initopt_jax.tasks import classification, function_task, reconstruction, regression
from initopt_jax.types import Task

__all__ = ["REGISTRY"]

REGISTRY: dict[str, Task] = {
    task.name: task
    for task in (
        classification.TASK,
        regression.TASK,
        reconstruction.TASK,
        function_task.TASK,
    )
}
