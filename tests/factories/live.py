"""A causal scorer and signals for it, fed live."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.factories.small import CHANNEL, build_small_model, small_config
from tslm.training.checkpoints.checkpoint import save_checkpoint

EMG = "EMG submental"
FS_HZ, EPOCH_S, NUM_EPOCHS = 50.0, 30.0, 12


def save_causal(folder: Path, kind: str = "bigru", causal: bool = True, **changes: Any) -> Path:
    """A checkpoint of an untrained scorer of EEG and EMG."""
    settings = {
        "model__name": "classifier",
        "model__context__kind": kind,
        "model__context__causal": causal,
        "model__fs_hz": FS_HZ,
        "model__epoch_s": EPOCH_S,
        "model__prior_epochs": 10.0,
        "model__encoder__patch_size": 50,
        "model__encoder__band_window_samples": 100,
        "model__encoder__max_patches": 32,
        "stage__extra_channels": (EMG,),
        **changes,
    }
    config = small_config(**settings)
    save_checkpoint(build_small_model(config), config, {}, folder)
    return folder


def make_stream(fs_hz: float = FS_HZ, num_epochs: int = NUM_EPOCHS) -> dict[str, np.ndarray]:
    """Noise, and rhythms that come and go, 2 s more than whole epochs."""
    time_s = np.arange(round((EPOCH_S * num_epochs + 2) * fs_hz)) / fs_hz
    rng = np.random.default_rng(0)
    rhythms = [
        np.sin(2 * np.pi * freq_hz * time_s + rng.uniform(0, 6)) * (time_s // 60 % 3 > number)
        for number, freq_hz in enumerate((1, 4, 9))
    ]
    noise = rng.normal(0, 5, (2, len(time_s)))
    return {CHANNEL: (20 * sum(rhythms) + noise[0]).astype(np.float32), EMG: noise[1].astype(np.float32)}
