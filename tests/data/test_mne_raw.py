from dataclasses import replace

import numpy as np
import pytest

from tslm.data.raw import RawRecording, RawSignal

pytest.importorskip("mne", reason="MNE is not installed: pip install tslm-sleep[mne]")

from tslm.data.mne_raw import build_mne_raw

RNG = np.random.default_rng(0)
NIGHT = RawRecording(
    recording="N1",
    subject="N1",
    signals={
        "EEG Fpz-Cz": RawSignal(RNG.normal(0, 20, 3000).astype(np.float32), 100.0),
        "EOG horizontal": RawSignal(RNG.normal(0, 20, 2900).astype(np.float32), 100.0),
        "EMG submental": RawSignal(RNG.normal(0, 20, 3000).astype(np.float32), 100.0),
    },
    sleep_stages=(),
    epoch_s=30,
)


def test_microvolts_become_volts_and_kinds_come_from_the_names():
    raw = build_mne_raw(NIGHT)
    assert raw.get_channel_types() == ["eeg", "eog", "emg"]
    assert raw.info["sfreq"] == 100
    np.testing.assert_allclose(1e6 * raw.get_data()[0], NIGHT.signals["EEG Fpz-Cz"].values[:2900], rtol=1e-6)


def test_channels_of_two_rates_are_refused():
    slow = NIGHT.signals | {"EMG submental": RawSignal(np.zeros(30, np.float32), 1.0)}
    with pytest.raises(ValueError, match="2 rates"):
        build_mne_raw(replace(NIGHT, signals=slow))
