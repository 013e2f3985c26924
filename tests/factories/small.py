"""Small recordings, corpora and configurations that tests build in code."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tslm.batch import Example
from tslm.config.schema import (
    ContextConfig,
    CurriculumStageConfig,
    EncoderConfig,
    FlamingoConfig,
    LLMConfig,
    LoRAConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
)
from tslm.data.prepared.corpora import CorpusSample, render_lead, write_corpus
from tslm.data.prepared.recordings import Recording, write_participants, write_recording
from tslm.data.samples.collate import Collator
from tslm.data.samples.corpus_dataset import CorpusDataset
from tslm.data.samples.recordings_dataset import SleepDataset
from tslm.data.splits.folds import draw_epoch_splits
from tslm.data.splits.rules import assign_splits
from tslm.evidence.measure import EVIDENCE_COLUMNS
from tslm.labels import SleepStage
from tslm.models import build_model, build_tokenizer
from tslm.prompts import render_ecg_prompt
from tslm.signals.spectrum import BANDS_HZ
from tslm.training.optim import set_trained_parts
from tslm.training.runs.manifest import Launch

CHANNEL = "EEG Fpz-Cz"
EPOCH_SAMPLES = 600
LAUNCH = Launch(
    started_at="2026-11-22T08:30:01+00:00",
    command=("train.py", "--stages", "stage0_encoder", "stage.train_dir=my nights"),
    num_processes=2,
    git_commit="0c70bedfacade",
    git_dirty=True,
    python="3.11.7",
    os="Linux",
    cpu="a processor",
    num_cpus=4,
    gpus=("NVIDIA H200",),
    packages={"torch": "2.13.0"},
)
AASM = (SleepStage.WAKE, SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.REM)
CYCLES_PER_SAMPLE = dict(zip(AASM, (0.30, 0.20, 0.12, 0.03, 0.07), strict=True))


def small_recording(
    name: str = "night1",
    num_epochs: int = 10,
    seed: int = 0,
    sleep_stages: Sequence[SleepStage] | None = None,
    onset_s: np.ndarray | None = None,
    subject: str = "",
) -> Recording:
    """Epochs of 30 s at 20 Hz: a rhythm that tells the stage, and noise."""
    rng = np.random.default_rng(seed)
    stages = tuple(sleep_stages) if sleep_stages is not None else tuple(AASM[idx % 5] for idx in range(num_epochs))
    time = np.arange(EPOCH_SAMPLES)
    epochs_EL = np.stack(
        [20 * np.sin(2 * np.pi * CYCLES_PER_SAMPLE.get(stage, 0.1) * time + rng.uniform(0, 6)) for stage in stages]
    ) + rng.normal(0, 10, (len(stages), EPOCH_SAMPLES))
    return Recording(
        recording=name,
        subject=subject or f"subject of {name}",
        fs_hz=20.0,
        epoch_s=30.0,
        channels={CHANNEL: epochs_EL.astype(np.float32), "EMG": rng.normal(0, 5, epochs_EL.shape).astype(np.float32)},
        sleep_stages=stages,
        onset_s=30.0 * np.arange(len(stages)) if onset_s is None else onset_s,
        columns={
            "rationale": [f"The rhythm is that of epoch {idx}." for idx in range(len(stages))],
            **_draw_evidence(epochs_EL, rng),
            "motion_flag": np.arange(len(stages)) % 3 == 0,
        },
        measured_channel=CHANNEL,
    )


def _draw_evidence(epochs_EL: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Evidence columns: at 20 Hz no detector works, so all but the amplitude are drawn."""
    num_epochs = len(epochs_EL)
    shares_EB = rng.dirichlet(np.ones(len(BANDS_HZ)), num_epochs)
    drawn = {
        name: rng.integers(0, 3, num_epochs) if name.endswith("_count") else rng.random(num_epochs) / 4
        for name in EVIDENCE_COLUMNS
    }
    return (
        drawn
        | {"rms_uv": epochs_EL.std(axis=1)}
        | {f"{band}_share": shares_EB[:, idx] for idx, band in enumerate(BANDS_HZ)}
    )


def split_by_epoch(recording: Recording) -> Recording:
    """The recording with a split an epoch, which leaks."""
    splits = draw_epoch_splits(recording.sleep_stages, recording.recording, 0)
    return replace(recording, columns={**recording.columns, "split": splits})


def write_small_cohort(cohort_dir: Path, num_epochs: int = 10) -> Path:
    """One recording a split, two in train."""
    splits = {"night1": "train", "night2": "train", "night3": "val", "night4": "test"}
    rows = [
        write_recording(small_recording(name, num_epochs, seed), cohort_dir, split)
        for seed, (name, split) in enumerate(splits.items())
    ]
    write_participants(rows, cohort_dir)
    return cohort_dir


def write_fold_cohort(cohort_dir: Path, recordings: Sequence[Recording]) -> Path:
    """A prepared cohort with a fold for each subject."""
    places = assign_splits([recording.subject for recording in recordings], "loso", 0)
    rows = [write_recording(recording, cohort_dir, places[recording.subject]) for recording in recordings]
    write_participants(rows, cohort_dir)
    return cohort_dir


def small_sample(idx: int, task: str = "choice", num_series: int = 1) -> CorpusSample:
    """A question (or a caption) about a rhythm."""
    rng = np.random.default_rng(idx)
    options = ("(a) slow", "(b) fast")
    rate = (0.02, 0.2)[idx % 2]
    series = tuple(
        (np.sin(2 * np.pi * rate * np.arange(150 + 50 * (idx % 3))) + rng.normal(0, 0.1, 150 + 50 * (idx % 3))).astype(
            np.float32
        )
        for _ in range(num_series)
    )
    is_caption = task == "caption"
    return CorpusSample(
        sample_id=f"{task}:{idx}",
        question="" if is_caption else "How fast is it?",
        options=() if is_caption else options,
        series=series,
        series_names=tuple(f"Series {number}" for number in range(num_series)),
        unit="mV",
        rationale={"choice": "", "caption": "A regular rhythm.", "ecg": "Seen in both leads."}[task],
        answer="" if is_caption else options[idx % 2],
        fs_hz=100.0,
    )


def small_ecg_sample(rr_s: Sequence[float], fs_hz: float = 100.0, leads: Sequence[str] = ("II", "V5")) -> CorpusSample:
    """A question about an ECG with these RR intervals; the R wave is 1 mV in the first lead, half of it in the next."""
    beats_s = 0.5 + np.concatenate([[0.0], np.cumsum(rr_s)])
    time_s = np.arange(round((beats_s[-1] + 0.5) * fs_hz)) / fs_hz
    lead_L = np.exp(-0.5 * ((time_s[:, None] - beats_s) / 0.012) ** 2).sum(axis=1)
    return CorpusSample(
        sample_id="ecg",
        question="How fast is it?",
        options=("slow", "fast"),
        series=tuple((lead_L / 2**idx).astype(np.float32) for idx in range(len(leads))),
        series_names=tuple(render_lead(lead, fs_hz) for lead in leads),
        unit="mV",
        rationale="",
        answer="slow",
        fs_hz=fs_hz,
    )


def write_small_corpus(corpus_dir: Path, task: str, num_samples: int = 6) -> Path:
    """All three splits of one task."""
    for number, split in enumerate(("train", "val", "test")):
        first = 100 * number
        samples = [small_sample(first + idx, task, 2 if task == "ecg" else 1) for idx in range(num_samples)]
        write_corpus(samples, corpus_dir, split)
    return corpus_dir


def small_config(tiny_dir: Path | str = "tiny", **changes: Any) -> RunConfig:
    """A run of the smallest parts in float32; `changes` are dotted keys with double underscores."""
    config = RunConfig(
        llm=LLMConfig(name="tiny", source=str(tiny_dir)),
        model=ModelConfig(
            encoder=EncoderConfig(d_model=16, num_layers=1, num_heads=2, d_ff=32, num_bands=8, max_patches=16),
            context=ContextConfig(hidden_size=8, window_epochs=5),
            flamingo=FlamingoConfig(num_latents=4, resampler_layers=1, num_heads=2, head_size=8, ff_factor=2),
            lora=LoRAConfig(rank=2, alpha=4),
        ),
        stage=CurriculumStageConfig(max_new_tokens=6, prompt_style="brief", facts="none"),
        optim=OptimConfig(),
        train=TrainConfig(train_epochs=1, batch_size=2, eval_batch_size=4, precision="fp32", log_every_steps=1),
    )
    for key, value in changes.items():
        config = _replace_at(config, key.split("__"), value)
    return config


def build_small_model(config: RunConfig, seed: int = 0, lora_noise: float = 0.0) -> Any:
    """The configured model, the stage's parts trainable; `lora_noise` moves adapters and gates off their zero start."""
    torch.manual_seed(seed)
    model = build_model(config)
    set_trained_parts(model, config)
    for name, param in model.named_parameters():
        if "lora_B" in name and lora_noise:
            torch.nn.init.normal_(param, std=lora_noise)
    return (open_gates(model) if lora_noise else model).eval()


def open_gates(model: Any) -> Any:
    """The same model, with the gates of its cross-attention, if it has any, as training may leave them."""
    for name, param in model.named_parameters():
        if name.endswith("_gate"):
            torch.nn.init.constant_(param, 0.5 if "attention" in name else -0.3)
    return model


def sleep_dataset(config: RunConfig, **recording: Any) -> SleepDataset:
    """Samples of one small night."""
    return SleepDataset([small_recording(**recording)], config)


def corpus_examples() -> list[Example]:
    """Two series a sample, 150 to 250 samples long."""
    samples = [small_sample(idx, "ecg", 2) for idx in range(3)]
    dataset = CorpusDataset(samples, lambda sample: render_ecg_prompt(sample.question, sample.options))
    return [dataset[idx] for idx in range(3)]


def collate(config: RunConfig, examples: Sequence[Any], with_response: bool = True) -> Any:
    """A batch of examples by the config's tokenizer."""
    return Collator(config.model, build_tokenizer(config), with_response)(examples)


def _replace_at(config: Any, path: list[str], value: Any) -> Any:
    head, *rest = path
    return replace(config, **{head: _replace_at(getattr(config, head), rest, value) if rest else value})
