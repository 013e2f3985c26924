"""YASA (Vallat & Walker 2021): an independent sleep scorer, and hypnograms as its toolbox takes them.

YASA was trained on some 3,000 real nights, independently of this project, so it can judge simulated nights.
"""

import warnings
from types import ModuleType
from typing import Any

import numpy as np

from tslm.data.readers.mne import build_mne_raw
from tslm.data.readers.raw import RawRecording
from tslm.hypnogram import Hypnogram
from tslm.labels import LABEL_SETS, SleepStage

YASA_EPOCH_S = 30.0
_STAGES = {
    "WAKE": SleepStage.WAKE,
    "W": SleepStage.WAKE,
    "N1": SleepStage.N1,
    "N2": SleepStage.N2,
    "N3": SleepStage.N3,
    "REM": SleepStage.REM,
    "R": SleepStage.REM,
}
_YASA_NAMES = {
    SleepStage.WAKE: "WAKE",
    SleepStage.REM: "REM",
    SleepStage.MOVEMENT: "ART",
    SleepStage.UNSCORED: "UNS",
}


def stage_with_yasa(recording: RawRecording, channel: str) -> tuple[SleepStage, ...]:
    """Stage of every 30-s epoch from one EEG channel, and from age and sex where they are known.

    Raises:
        ImportError: YASA is not installed.
        ValueError: The recording has no such channel.
    """
    return tuple(_STAGES[str(name)] for name in _predict(recording, channel, None, None).hypno)


def score_with_yasa(
    recording: RawRecording, channel: str, eog: str | None = None, emg: str | None = None
) -> np.ndarray:
    """Probabilities of every 30-s epoch, (num_epochs, 5) float64 in the order W, N1, N2, N3, R.

    It reads age and sex where they are known. Errors as `stage_with_yasa`.
    """
    table = _predict(recording, channel, eog, emg).proba
    of_stage = {_STAGES[str(name)]: table[name].to_numpy(dtype=np.float64) for name in table.columns}
    return np.stack([of_stage[sleep_stage] for sleep_stage in LABEL_SETS["aasm"].sleep_stages], axis=1)


def build_yasa_hypnogram(hypnogram: Hypnogram) -> Any:
    """The yasa.Hypnogram of a hypnogram: movement is ART, unscored UNS; three stages where there is NREM.

    Raises:
        ImportError: YASA is not installed.
        ValueError: no epoch, or NREM beside N1, N2 or N3, which no hypnogram of YASA holds.
    """
    yasa = _import_yasa()
    stages = set(hypnogram.sleep_stages)
    if not stages or (SleepStage.NREM in stages and stages & {SleepStage.N1, SleepStage.N2, SleepStage.N3}):
        raise ValueError(f"a yasa.Hypnogram holds NREM or N1 to N3, and one epoch at least; got: {sorted(stages)}")
    return yasa.Hypnogram(
        [_YASA_NAMES.get(sleep_stage, sleep_stage.value) for sleep_stage in hypnogram.sleep_stages],
        n_stages=3 if SleepStage.NREM in stages else 5,
        freq=f"{hypnogram.epoch_s:g}s",
        start=hypnogram.start or None,
    )


def check_yasa() -> None:
    """Raise ImportError where YASA is not installed."""
    _import_yasa()


def _predict(recording: RawRecording, channel: str, eog: str | None, emg: str | None) -> Any:
    """YASA's hypnogram of a recording."""
    yasa = _import_yasa()
    for name in (channel, eog, emg):
        if name is not None and name not in recording.signals:
            raise ValueError(f"{recording.recording} has no channel {name!r}; it has: {', '.join(recording.signals)}")
    metadata = {"age": int(recording.age)} if recording.age else {}
    if recording.sex:
        metadata["male"] = int(recording.sex == "M")
    raw = build_mne_raw(recording)
    scorer = yasa.SleepStaging(raw, eeg_name=channel, eog_name=eog, emg_name=emg, metadata=metadata or None)
    with warnings.catch_warnings():
        # An old scikit-learn pickled its classifier; only a list of names is read from it.
        warnings.filterwarnings("ignore", message="Trying to unpickle estimator LabelEncoder")
        return scorer.predict()


def _import_yasa() -> ModuleType:
    try:
        import yasa
    except ImportError as error:
        raise ImportError("YASA is not installed: pip install 'tslm-sleep[peers]'") from error
    return yasa
