"""A report in a thousandth of the time: the real table, and files that tell one study from another.

Drawing every figure twice takes longer than training the studies of most tests. What the figures
and the page show is held in `tests/reports`, and that every kind of study has a report in
`tests/config/test_configs.py`.
"""

import zlib
from typing import Any

from initopt_jax.reports.charts.results import make_results
from initopt_jax.reports.page.tables import summary_csv


def build(dataset: Any, lanes: Any, info: Any, landscapes: Any = ()) -> dict[str, bytes]:
    """As `initopt_jax.reports.build`; the contents depend on every result."""
    names = sorted(map(str, dataset.data_vars))
    numbers = (zlib.crc32(dataset[name].to_numpy().tobytes()) for name in names)
    content = f"{names} {list(numbers)} {len(landscapes)}\n".encode()
    return {
        "summary.csv": summary_csv(make_results(dataset, lanes, info)),
        "figures/learning_curves.png": content * 100,
        "figures/learning_curves.pdf": content * 50,
        "report.html": b"<html>" + content * 1000 + b"</html>",
    }
