"""The devices of this process, and how programs are compiled for them."""

import contextlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import jax

from initopt_jax.engine.processor import processor
from initopt_jax.errors import ConfigError
from initopt_jax.keys import stable_hash
from initopt_jax.types import Device

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# Per platform, what a training program is compiled with; recorded, since it can change bits. XLA
# limits CPU vectors to 256 bits unless told otherwise: 512 made the digits step 6% faster where
# the processor has them, and means nothing where it has not.
COMPILER_OPTIONS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {"cpu": {"xla_cpu_prefer_vector_width": "512"}}
)
MOST_DEVICES = 64  # that JAX makes of a CPU, or as many as there are cores
CACHE_BYTES = 2 * 2**30  # of compiled programs on disk; the least recently used go first


def set_up_devices(count: int | None = None) -> list[Device]:
    """The devices to run on: `count` of them, by default all, on CPU one per core.

    On CPU, JAX is told to make so many. That only works before JAX's first computation; later, the
    devices that exist are used. Compiled programs are kept on disk, see `keep_compiled`.

    Raises:
        ConfigError: more devices are asked for than there are, or JAX is told not to compile.
    """
    if jax.config.values["jax_disable_jit"]:
        raise ConfigError(
            "JAX_DISABLE_JIT is set, and studies are run by compiled programs; leave it out"
        )
    if count is not None and count < 1:
        raise ConfigError(f"devices must be at least 1, got {count}")
    if count is not None and count > max(MOST_DEVICES, available_cores()):
        raise ConfigError(
            f"devices: {count:,} were asked for, and {MOST_DEVICES} are the most; this machine has "
            f"{available_cores()} cores, and more devices than cores are slower"
        )
    with contextlib.suppress(RuntimeError):  # JAX is already running
        jax.config.update("jax_num_cpu_devices", count or available_cores())
    keep_compiled()
    devices = _local_devices()
    cpu = devices[0].platform == "cpu"
    if count and count > len(devices):
        raise ConfigError(
            f"devices: {count} were asked for, but JAX is already running with {len(devices)}"
            if cpu
            else f"devices: {count} were asked for; there are {len(devices)}"
        )
    return devices[: count or (available_cores() if cpu else len(devices))]


def _local_devices() -> list[Device]:
    """The devices that JAX finds. Raises ConfigError where it finds none of the platform asked."""
    try:
        return jax.local_devices()
    except (RuntimeError, AssertionError) as error:
        asked = jax.config.values["jax_platforms"]
        said = (str(error).splitlines() or [""])[0] or "it has no such devices here"
        raise ConfigError(
            f"JAX cannot use the platform {asked!r} that JAX_PLATFORMS asks for: {said}; set it to "
            "cpu, or leave it out"
        ) from error


def host_device(device: Device) -> Device:
    """Where small programs beside a device's training run, such as first weights: always a CPU.

    The first weights are then the same on every platform. On CPU it is the device itself, which is
    idle between two tiles: on another one they would wait behind its training, and one device more
    than there are cores slows all of them down by a quarter.
    """
    return device if device.platform == "cpu" else jax.local_devices(backend="cpu")[0]


def compiler_options(platform: str) -> dict[str, str]:
    """What training programs are compiled with on a platform.

    >>> compiler_options("gpu")
    {}
    """
    return dict(COMPILER_OPTIONS.get(platform, {}))


def keep_compiled() -> None:
    """Let JAX keep compiled programs on disk, so that a second run need not compile.

    In the folder of JAX's own setting `jax_compilation_cache_dir` (or JAX_COMPILATION_CACHE_DIR)
    where it is given, else in the user's cache folder. JAX_ENABLE_COMPILATION_CACHE=0 turns it off.
    Programs are found again by their code, options, platform and versions: bits stay the same.
    """
    if jax.config.values["jax_compilation_cache_dir"]:
        return
    root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    with contextlib.suppress(OSError, RuntimeError):  # no home, or one that cannot be written to
        # A home may be shared by machines whose processors differ: each kind has a folder.
        kind = f"{platform.machine()}-{stable_hash(repr(processor())):08x}"
        folder = root / "initopt-jax" / "compiled" / kind
        folder.mkdir(parents=True, exist_ok=True)
        if not _can_lock(folder):
            return
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # The programs are many and small; JAX would keep only those that took a second.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)


def _can_lock(folder: Path) -> bool:
    """Whether files of a folder can be written and locked.

    JAX waits ten seconds for the lock of every program before it does without.
    """
    if fcntl is None:
        return True
    try:
        with (folder / ".lock-test").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # another process tries it now: there are locks
        return True
    except OSError:
        return False
    return True


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
