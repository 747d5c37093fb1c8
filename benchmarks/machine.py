"""The machine: what it is, how fast it multiplies matrices, and who else uses it."""

import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from initopt_jax.engine.devices import available_cores, set_up_devices
from initopt_jax.types import Device

SIZES = (512, 1024, 2048)
LARGER_SIZES = (4096, 8192)  # on accelerators
PACKAGES = ("initopt-jax", "jax", "jaxlib", "optax", "flax", "torch", "lightning", "numpy")


def machine() -> dict[str, Any]:
    """Where and with what the numbers were taken."""
    devices = set_up_devices()
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {package: installed(package) for package in PACKAGES},
        "jax_devices": [str(device) for device in devices],
        "device_kind": devices[0].device_kind,
    }


def installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cpu_model() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class OtherLoad:
    """How many cores other processes kept busy since this was made; None outside Linux."""

    def __init__(self) -> None:
        self.began, self.busy, self.own = time.perf_counter(), self._busy(), self._ours()

    @staticmethod
    def _ours() -> float:
        return sum(os.times()[:4])  # this process and the children that have ended

    @staticmethod
    def _busy() -> float | None:
        counters = Path("/proc/stat")
        if not counters.exists():
            return None
        fields = counters.read_text(encoding="ascii").splitlines()[0].split()[1:9]
        user, nice, system, _, _, irq, softirq, steal = map(int, fields)
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")

    def cores(self) -> float | None:
        now = self._busy()
        if now is None or self.busy is None:
            return None
        spent = (now - self.busy) - (self._ours() - self.own)
        return max(0.0, spent / (time.perf_counter() - self.began))


# Matrix products ---------------------------------------------------------------------------------


def matrix_rate(seconds: float = 0.2, dtype: str = "float32") -> tuple[float, str]:
    """Floating-point operations per second of square matrix products, the best way found.

    JAX on one device, on all at once, and PyTorch with all cores, at several sizes, each for
    about `seconds`.

    Returns:
        The best rate, and which way it was.
    """
    rates = {label: run(seconds) for label, run in _ways(dtype)}
    best = max(rates, key=lambda label: rates[label])
    return rates[best], best


def _ways(dtype: str) -> Iterator[tuple[str, Callable[[float], float]]]:
    devices = set_up_devices()
    sizes = SIZES if devices[0].platform == "cpu" else SIZES + LARGER_SIZES
    groups = {1: devices[:1], len(devices): devices}
    for size in sizes:
        for count, group in groups.items():
            label = f"JAX, {count} device{'s' * (count > 1)}, {size}"
            yield label, lambda seconds, g=group, n=size: _jax_products(g, n, dtype, seconds)
        if find_spec("torch"):
            label = f"PyTorch, {size}"
            yield label, lambda seconds, n=size: _torch_products(n, dtype, seconds)


def _jax_products(devices: Sequence[Device], size: int, dtype: str, seconds: float) -> float:
    """The sum over devices of each one's own rate, all running at once."""
    product = jax.jit(jnp.matmul)
    rates: list[float] = []
    together = threading.Barrier(len(devices))

    def drive(device: Device) -> None:
        with jax.default_matmul_precision("highest"):  # a setting of each thread
            matrix = jax.device_put(jnp.full((size, size), 0.5, dtype), device)
            product(matrix, matrix).block_until_ready()
            together.wait()
            rates.append(
                products_per_second(lambda: product(matrix, matrix), jax.block_until_ready, seconds)
            )

    threads = [threading.Thread(target=drive, args=(device,)) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(rates) * 2 * size**3


def _torch_products(size: int, dtype: str, seconds: float) -> float:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(available_cores())
    matrix = torch.full((size, size), 0.5, dtype=getattr(torch, dtype), device=device)
    out = torch.empty_like(matrix)

    def wait(_: Any) -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    rate = products_per_second(lambda: torch.mm(matrix, matrix, out=out), wait, seconds)
    return rate * 2 * size**3


def products_per_second(
    product: Callable[[], Any], wait: Callable[[Any], Any], seconds: float
) -> float:
    """Calls per second, waiting every few calls so that the queue stays short."""
    wait(product())
    began, count = time.perf_counter(), 0
    while not count or time.perf_counter() - began < seconds:
        for _ in range(4):
            result = product()
        wait(result)
        count += 4
    return count / (time.perf_counter() - began)
