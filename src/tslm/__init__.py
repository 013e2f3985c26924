"""Time-series language models that stage sleep and explain themselves.

Each package has a map of its files at its top. The path of a night: `data` reads it, `models` are trained by
`training`, `predictions` lets them answer, `scoring` and `explain` judge the answers, `report` and `review` show them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tslm.hypnogram import Hypnogram
    from tslm.labels import SleepStage
    from tslm.predictions.stager import open_stager
    from tslm.staging.live.scorer import StreamingScorer
    from tslm.staging.night import score_night, stage_night

__all__ = ["Hypnogram", "SleepStage", "StreamingScorer", "open_stager", "score_night", "stage_night"]
__version__ = "0.1.0"

# Imported at first use: `import tslm` stays quick.
_MODULES = {
    "Hypnogram": "tslm.hypnogram",
    "SleepStage": "tslm.labels",
    "StreamingScorer": "tslm.staging.live.scorer",
    "open_stager": "tslm.predictions.stager",
    "score_night": "tslm.staging.night",
    "stage_night": "tslm.staging.night",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
