"""How far the rough time of `--dry-run` is from the time that a study takes.

Command:  make bench-forecast        (or: python -m benchmarks.forecast [CONFIG])
Expect:   within a factor of 4 for the study of `make study`; exit status 1 otherwise
"""

import sys
import tempfile
import time
from pathlib import Path

from initopt_jax.studies import preview
from initopt_jax.studies.run import run

CONFIG = Path(__file__).resolve().parents[1] / "configs/effects_digits.yaml"
FACTOR = 4.0


def main(config: str | Path = CONFIG) -> int:
    """Plan a study, run it, and compare."""
    expected = preview.plan(config).seconds
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run(config, Path(folder) / "study")
        took = time.perf_counter() - began
    factor = max(expected / took, took / expected)
    print(f"{config}: expected {expected:.0f} s, took {took:.0f} s, a factor of {factor:.1f}")
    return int(factor > FACTOR)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
