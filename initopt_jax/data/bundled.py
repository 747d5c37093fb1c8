"""Small tables bundled with scikit-learn: breast_cancer, iris, wine."""

from typing import Any

from initopt_jax.data.finish import finish
from initopt_jax.data.notes import About
from initopt_jax.data.source import DatasetSource, Request
from initopt_jax.types import Dataset


def load_breast_cancer(request: Request) -> Dataset:
    """569 tumours: 30 measurements of cell nuclei each; malignant is 0, benign is 1.

    Reference: Street, Wolberg & Mangasarian 1993, Nuclear feature extraction for breast tumor
        diagnosis, SPIE 1905.

    >>> from initopt_jax.data.split import SplitSpec
    >>> cells = load_breast_cancer(Request("breast_cancer", "classification", SplitSpec()))
    >>> cells.train.inputs.shape, cells.outputs
    ((342, 30), 2)
    """
    import sklearn.datasets  # half a second to import

    return _named(request, sklearn.datasets.load_breast_cancer())


def load_iris(request: Request) -> Dataset:
    """150 flowers of three species: length and width of sepal and petal.

    Reference: Fisher 1936, The use of multiple measurements in taxonomic problems, Annals of
        Eugenics 7.

    >>> from initopt_jax.data.split import SplitSpec
    >>> iris = load_iris(Request("iris", "classification", SplitSpec()))
    >>> iris.train.inputs.shape, iris.outputs
    ((90, 4), 3)
    """
    import sklearn.datasets

    return _named(request, sklearn.datasets.load_iris())


def load_wine(request: Request) -> Dataset:
    """178 wines of three cultivars: 13 measurements of what they contain.

    Reference: Aeberhard, Coomans & de Vel 1994, Comparative analysis of statistical pattern
        recognition methods in high dimensional settings, Pattern Recognition 27(8).

    >>> from initopt_jax.data.split import SplitSpec
    >>> wine = load_wine(Request("wine", "classification", SplitSpec()))
    >>> wine.train.inputs.shape, wine.outputs
    ((107, 13), 3)
    """
    import sklearn.datasets

    return _named(request, sklearn.datasets.load_wine())


def _named(request: Request, bunch: Any) -> Dataset:
    """The table with the names that scikit-learn gives its columns and classes."""
    columns, classes = map(tuple, (map(str, bunch.feature_names), map(str, bunch.target_names)))
    about = About(columns, classes)
    return finish(request, bunch.data, bunch.target, table=True, about=about)


ENTRIES = (
    DatasetSource(
        name="breast_cancer",
        load=load_breast_cancer,
        kinds=("classification",),
        description="569 tumours, 30 measurements, 2 classes",
        reference="Street, Wolberg & Mangasarian 1993, Nuclear feature extraction",
    ),
    DatasetSource(
        name="iris",
        load=load_iris,
        kinds=("classification",),
        description="150 flowers, 4 measurements, 3 classes",
        reference="Fisher 1936, The use of multiple measurements in taxonomic problems",
    ),
    DatasetSource(
        name="wine",
        load=load_wine,
        kinds=("classification",),
        description="178 wines, 13 measurements, 3 classes",
        reference="Aeberhard, Coomans & de Vel 1994, Pattern Recognition 27(8)",
    ),
)
