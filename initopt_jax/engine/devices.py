"""The devices of this process."""

import contextlib
import os

import jax

from initopt_jax.types import Device

MATMUL_PRECISION = "highest"  # float32 means float32 on every platform; never TF32 by accident
COMPILER_OPTIONS: dict[str, str] = {}


def set_up_devices(count: int | None = None) -> list[Device]:
    """The devices to run on: `count` of them, by default all.

    On CPU, JAX is told to make `count` devices, by default one per core that this process may use.
    That only works before JAX's first computation; later, the devices that exist are used.

    Raises:
        ValueError: more devices are asked for than there are.
    """
    if count is not None and count < 1:
        raise ValueError(f"devices must be at least 1, got {count}")
    with contextlib.suppress(RuntimeError):  # JAX is already running
        jax.config.update("jax_num_cpu_devices", count or available_cores())
    devices = jax.local_devices()
    if count and count > len(devices):
        raise ValueError(
            f"devices: {count} were asked for, but JAX is already running with {len(devices)}"
            if devices[0].platform == "cpu"
            else f"devices: {count} were asked for; there are {len(devices)}"
        )
    return devices[: count or len(devices)]


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
