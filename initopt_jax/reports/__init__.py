"""Tables, figures and the HTML report of a study, as file contents; writing them is the store's."""

from collections.abc import Sequence

import pandas as pd
import xarray as xr

from initopt_jax.probes.slices.record import Mesh, NetLandscape
from initopt_jax.stats import StudyInfo
from initopt_jax.tasks.function_task import TestFunction


def build(
    dataset: xr.Dataset,
    lanes: pd.DataFrame,
    info: StudyInfo,
    landscapes: Sequence[NetLandscape] = (),
) -> dict[str, bytes]:
    """Make every file of a study's report.

    Plotting libraries are imported here rather than with the package: they are slow to load, and
    training needs none of them.

    Args:
        dataset: the results, dims `lane`, `eval` and (for weight norms) `leaf`.
        lanes: the lane table, index lane id.
        info: the study in words.
        landscapes: pictures of the networks' loss.

    Returns:
        Relative path to contents: `summary.csv`, `figures/<name>.png` and `.pdf`, `report.html`.
        Equal inputs give equal bytes.
    """
    from initopt_jax.reports.page import assemble

    return assemble.files(dataset, lanes, info, landscapes)


def mesh_of(
    test_function: TestFunction, dataset: xr.Dataset, lanes: pd.DataFrame, info: StudyInfo
) -> Mesh:
    """The values of a test function where the maps of a study show it, to be stored with it.

    Args:
        test_function: the function.
        dataset: the results.
        lanes: the lane table, index lane id.
        info: the study in words.
    """
    from initopt_jax.reports.charts import results, surface, trajectories

    ways = trajectories.make_trajectories(results.make_results(dataset, lanes, info))
    return surface.make_mesh(test_function, trajectories.all_starts(ways))
