"""A recording without labels, and models that stage it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.factories.recordings import write_night
from tests.factories.small import build_small_model, small_config
from tslm.data.readers.raw import RawSignal
from tslm.training.checkpoints.checkpoint import save_checkpoint

FS_HZ, NUM_EPOCHS = 100, 12


def make_sleep_signal(seed: int, num_epochs: int = NUM_EPOCHS) -> np.ndarray:
    """Noise and slow waves in turn, 5 s more than whole epochs."""
    time_s = np.arange((30 * num_epochs + 5) * FS_HZ) / FS_HZ
    noise = np.random.default_rng(seed).normal(0, 15, len(time_s))
    return np.round(noise + 60 * np.sin(2 * np.pi * time_s) * (time_s // 120 % 2), 1).astype(np.float32)


def save_staging_model(folder: Path, tiny_llm: Path, **changes: Any) -> Path:
    config = small_config(
        tiny_llm, model__fs_hz=float(FS_HZ), model__epoch_s=30.0, stage__extra_channels=("EOG horizontal",), **changes
    )
    config = replace(config, model=replace(config.model, encoder=replace(config.model.encoder, max_patches=64)))
    save_checkpoint(build_small_model(config, lora_noise=0.1), config, {}, folder)
    return folder


def write_unlabelled_night(folder: Path) -> Path:
    """A recording of other names than the training's."""
    eeg, eog = make_sleep_signal(0), make_sleep_signal(1)
    signals = {"F4-M1": eeg, "E1-M2": eog, "SpO2": np.full_like(eeg, 97)}
    held = {name: RawSignal(values, FS_HZ) for name, values in signals.items()}
    return write_night(folder / "P01.edf", held, start="2024-03-05T22:30:00")


def save_staging_models(folder: Path, tiny_llm: Path) -> Path:
    """A folder of results as training leaves it: a classifier, and a language model of sleep."""
    classifier = {"model__name": "classifier", "stage__task": "night", "stage__trained": ("encoder", "classifier")}
    writer = {
        "stage__facts": "measured",
        "stage__prompt_style": "brief",
        "stage__max_new_tokens": 40,
        "stage__extra_in_text": False,
    }
    save_staging_model(folder / "no_llm/classifier/stage0_encoder/checkpoints/best", tiny_llm, **classifier)
    save_staging_model(folder / "tiny/soft_prompt/stage4_sleep_cot/checkpoints/best", tiny_llm, **writer)
    return folder
