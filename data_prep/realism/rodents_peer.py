"""The peer's side of judge_rodents, run by the interpreter that has the peer: signals in, a letter a second out.

It needs numpy and the peer, nothing of this project.
"""

import sys
from pathlib import Path

import numpy as np


def stage_with_misleep(folder: Path) -> str:
    """Misleep's gradient-boosted trees and hidden Markov model for a parietal EEG and an EMG."""
    from misleep.analysis.auto_stage import auto_stage_gbm

    signals = np.load(folder / "signals.npz")
    codes = auto_stage_gbm(signals["eeg"], signals["emg"], [], float(signals["fs_hz"]), EEG_channel="P")
    return "".join({1: "N", 2: "R", 3: "W"}[code] for code in codes)


def stage_with_somnus(folder: Path) -> str:
    """somnus-eeg's logistic model and Viterbi decoding, in epochs of 4 s."""
    from somnus import load_model
    from somnus.data import datasets
    from somnus.predict import predict

    entry = {"recording": "one", "edf": str(folder / "signals.edf"), "dataset": "user", "group": "", "subject": "one"}
    labels, _ = predict(load_model(), datasets.featurize(entry, eeg_chan="EEG", emg_chan="EMG"))
    return "".join(4 * {"NREM": "N", "REM": "R", "Wake": "W"}[label] for label in labels)


_PEERS = {"misleep": stage_with_misleep, "somnus": stage_with_somnus}

if __name__ == "__main__":
    print(_PEERS[sys.argv[1]](Path(sys.argv[2])))
