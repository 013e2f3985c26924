from dataclasses import replace
from pathlib import Path

import pytest

from tests.factories.recordings import build_night, build_staged_night, draw_stages
from tslm.data.events import recording_events
from tslm.export.night import NightResult
from tslm.labels import ANSWER_NAMES
from tslm.predictions.rows import LANGUAGE_MODEL


@pytest.fixture(scope="session")
def night() -> NightResult:
    """40 epochs from epoch 10 of the file on, a gap of 20 in them, with texts and events; movement is flagged once."""
    recording = build_night("SC4001E0", draw_stages(40, 0), gap_at=25)
    flags = [idx == 3 for idx in range(40)]
    recording = replace(
        recording,
        onset_s=recording.onset_s + 300.0,
        start="2019-04-23T22:15:30",
        subject="X-4711",
        age="33",
        sex="F",
        columns={**recording.columns, "motion_flag": flags},
        notes=("EEG: resampled",),
    )
    staged = build_staged_night(recording)
    rows = [
        {
            "system": LANGUAGE_MODEL,
            "sample_id": recording.name_epoch(idx),
            "epoch_idx": idx,
            "truth": "Wake",
            "options": list(staged.label_set.answers),
            "generated": f"It rests. There are 2 spindles. Answer: {ANSWER_NAMES[sleep_stage]}<|im_end|>",
            "probabilities": staged.probabilities_EK[idx].tolist(),
            "evidence": {"spindle_count": 2.0 + idx % 2, "k_complex_count": 0.0},
            "struck": [(9, "There is one K-complex. ")] if idx == 1 else [],
        }
        for idx, sleep_stage in enumerate(staged.sleep_stages)
    ]
    checkpoints = {"language_model": "checkpoints/best"}
    return replace(staged, rows=rows, events=recording_events(recording), checkpoints=checkpoints)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "SC4001E0"
