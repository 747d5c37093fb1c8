"""Disease progression of diabetes patients, bundled with scikit-learn."""

from initopt_jax.data.finish import finish
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.types import Dataset


def load_diabetes(request: Request) -> Dataset:
    """442 patients: 10 measurements each, and a score of disease progression one year later.

    Args:
        request: name, kind, split and the common options; without `normalize` the measurements keep
            their units.

    Returns:
        The data set; inputs [N, 10], targets [N, 1].

    Reference: Efron, Hastie, Johnstone & Tibshirani 2004, Least Angle Regression, Annals of
        Statistics 32(2), section 1.

    >>> from initopt_jax.data.split import SplitSpec
    >>> diabetes = load_diabetes(Request("diabetes", "regression", SplitSpec()))
    >>> diabetes.train.inputs.shape, diabetes.train.targets.shape
    ((265, 10), (265, 1))
    """
    import sklearn.datasets  # half a second to import

    # Unscaled, because the bundled scaling uses the statistics of all 442 patients.
    measured, score = sklearn.datasets.load_diabetes(return_X_y=True, scaled=False)
    return finish(request, measured, score, table=True)


ENTRY = DatasetSource(
    name="diabetes",
    load=load_diabetes,
    kinds=("regression",),
    description="442 patients, 10 measurements, disease progression after one year",
    reference="Efron, Hastie, Johnstone & Tibshirani 2004, Least Angle Regression",
)
