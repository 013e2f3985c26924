"""A recording without labels, and models that stage it; signals that come live, and a causal scorer of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curriculum.package import package
from curriculum.package_card import Origin
from tests.factories.recordings import write_night
from tests.factories.small import CHANNEL, build_small_model, small_config
from tslm.config.checkpoint import CHECKPOINT_CONFIG_FILE
from tslm.data.novelty import ChannelNovelty, save_novelty
from tslm.data.readers.raw import RawSignal
from tslm.labels import LABEL_SETS
from tslm.models.llm.store import CACHE_VARIABLE, EMBEDDED_LLMS, find_embedded_dir
from tslm.predictions.calibration import Calibration, save_calibration
from tslm.predictions.transitions import Transitions, save_transitions
from tslm.pretrained.table import Score
from tslm.training.checkpoints.checkpoint import save_checkpoint

FS_HZ, NUM_EPOCHS = 100, 12
EMG = "EMG submental"
LIVE_FS_HZ, LIVE_EPOCH_S, LIVE_EPOCHS = 50.0, 30.0, 12
SCORER_RUN, WRITER_RUN = "no_llm/classifier/stage0_encoder", "tiny/soft_prompt/stage4_sleep_cot"
TINY_BASE = "tiny-base"


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
    save_staging_model(folder / SCORER_RUN / "checkpoints/best", tiny_llm, **classifier)
    save_staging_model(folder / WRITER_RUN / "checkpoints/best", tiny_llm, **writer)
    return folder


def save_narrow_novelty(folder: Path) -> None:
    """Let a checkpoint of `save_staging_model` have been trained on EEGs of a constant 1 uV, which no recording has."""
    save_novelty({CHANNEL: ChannelNovelty(np.zeros(64), np.full(64, 0.5), 1.25, 40)}, folder)


def name_base(folder: Path, base: str) -> None:
    """Let a checkpoint say that it was trained on an embedded language model of this name."""
    path = folder / CHECKPOINT_CONFIG_FILE
    found = json.loads(path.read_text())
    found["settings"]["llm"] |= {"name": base, "source": base}
    path.write_text(json.dumps(found))


def package_models(results: Path, folder: Path) -> Path:
    """A package of models, `human` and `explain-tiny`, from a folder of results, with scores that are made up."""
    for name, run in {"human": SCORER_RUN, "explain-tiny": WRITER_RUN}.items():
        checkpoint = shutil.copytree(results / run / "checkpoints/best", folder / f"trained-{name}")
        save_calibration(Calibration(classifier=1.25, answer=1.5), checkpoint)
        chain = np.full((5, 5), 0.2)
        save_transitions(Transitions(LABEL_SETS["aasm"].sleep_stages, 30.0, chain[0], chain, chain[0]), checkpoint)
        if name != "human":
            name_base(checkpoint, TINY_BASE)
        score = Score("one night", 841, {"cohen_kappa": 0.8097}, {"cohen_kappa": (0.748, 0.861)}, "over blocks")
        package(checkpoint, name, [score], Origin(("make demo",), (0,)), folder)
        shutil.rmtree(checkpoint)
    return folder


def pin_tiny_base(monkeypatch: pytest.MonkeyPatch, tiny_llm: Path, cache: Path) -> None:
    """Let the tiny language model stand for an embedded one that is in the cache already."""
    fake = replace(EMBEDDED_LLMS["smollm2-135m"], hub_id="owner/tiny", parts=(), licence_members=(), download_mb=1)
    monkeypatch.setitem(EMBEDDED_LLMS, TINY_BASE, fake)
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    folder = find_embedded_dir(TINY_BASE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        folder.symlink_to(tiny_llm)


def save_causal(folder: Path, kind: str = "bigru", causal: bool = True, **changes: Any) -> Path:
    """A checkpoint of an untrained scorer of EEG and EMG."""
    settings = {
        "model__name": "classifier",
        "model__context__kind": kind,
        "model__context__causal": causal,
        "model__fs_hz": LIVE_FS_HZ,
        "model__epoch_s": LIVE_EPOCH_S,
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


def make_live_signals(fs_hz: float = LIVE_FS_HZ, num_epochs: int = LIVE_EPOCHS) -> dict[str, np.ndarray]:
    """Noise, and rhythms that come and go, 2 s more than whole epochs."""
    time_s = np.arange(round((LIVE_EPOCH_S * num_epochs + 2) * fs_hz)) / fs_hz
    rng = np.random.default_rng(0)
    rhythms = [
        np.sin(2 * np.pi * freq_hz * time_s + rng.uniform(0, 6)) * (time_s // 60 % 3 > number)
        for number, freq_hz in enumerate((1, 4, 9))
    ]
    noise = rng.normal(0, 5, (2, len(time_s)))
    return {CHANNEL: (20 * sum(rhythms) + noise[0]).astype(np.float32), EMG: noise[1].astype(np.float32)}
