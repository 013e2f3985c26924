"""The path of the data, from raw files to the batches of a model.

`readers` opens signal files and hypnograms, `cohorts` describes where recordings lie, `epochs.py` cuts a recording into
scoring epochs, `events.py` finds the events in them, `prepared` writes and reads prepared data, `splits` divides
subjects and finds leaks, and `samples` makes batches.
`as_dataset` opens what is prepared as a table of Hugging Face `datasets`, `push_dataset` uploads it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tslm.data.hugging_face import as_dataset, push_dataset

__all__ = ["as_dataset", "push_dataset"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("tslm.data.hugging_face"), name)
