"""The processor: XLA compiles for its model and its vector instruction sets."""

import platform
from pathlib import Path
from typing import Any

CPU_INFO = Path("/proc/cpuinfo")
VECTOR_SETS = {  # beginnings of their names, by the line that lists them: x86, ARM
    "flags": ("sse4", "avx", "fma", "f16c", "amx"),
    "Features": ("asimd", "sve", "sme", "bf16", "i8mm"),
}


def processor() -> dict[str, Any]:
    """Model and vector instruction sets of the processor: XLA compiles for both.

    Where the system does not list the sets, the model stands for them.
    """
    try:
        text = CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {"model": platform.processor() or "unknown", "vector": []}
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    parts = [fields[name] for name in ("CPU implementer", "CPU part") if name in fields]
    model = fields.get("model name") or " ".join(parts) or platform.processor() or "unknown"
    vector = [
        flag
        for line, starts in VECTOR_SETS.items()
        for flag in fields.get(line, "").split()
        if flag.startswith(starts)
    ]
    return {"model": model, "vector": sorted(vector)}
