"""The Plotly library for the page, packed: gzip of the file that the Python package brings along."""

import gzip
from functools import cache
from importlib.metadata import version


@cache
def pack_plotly() -> bytes:
    """plotly.min.js (MIT licence, its notice stands at its head) as gzip.

    Raises:
        ImportError: the package is missing.
    """
    from plotly.offline import get_plotlyjs

    return gzip.compress(get_plotlyjs().encode(), mtime=0)


def plotly_version() -> str:
    """Version of the package that the library comes from."""
    return version("plotly")
