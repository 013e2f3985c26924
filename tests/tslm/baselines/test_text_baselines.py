from pathlib import Path

import numpy as np
import pytest

from tests.factories.recordings import AASM, EEG, build_baseline_inputs, write_rhythm_cohort
from tslm.baselines.table import BASELINES
from tslm.baselines.text import NUM_PRIOR_EPOCHS
from tslm.models.text_model import TextModel
from tslm.predictions.epoch_writer import EpochWriter


@pytest.fixture(scope="module")
def cohort_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rhythm_cohort(tmp_path_factory.mktemp("rhythm"), 24)


@pytest.mark.parametrize("name", ["text_digits", "text_evidence"])
def test_a_language_model_without_encoder_answers_each_wanted_epoch_once(
    name: str, cohort_dir: Path, tiny_llm: Path
) -> None:
    inputs = build_baseline_inputs(cohort_dir, num_epochs=9, llm=str(tiny_llm), num_digit_values=20)
    rows = list(BASELINES[name].fit(inputs)())
    assert sorted(row["sample_id"] for row in rows) == sorted(inputs.sample_ids)
    for row in rows:
        assert row["options"] == list(AASM.answers)
        best = row["options"][int(np.argmax(row["probabilities"]))]
        assert row["answer"] == best


def test_what_a_label_has_whatever_the_epoch_is_taken_off(
    cohort_dir: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = build_baseline_inputs(cohort_dir, num_epochs=8, llm=str(tiny_llm), num_digit_values=20)
    before = list(BASELINES["text_digits"].fit(inputs)())
    score = TextModel.score_labels
    bias = np.array([0.0, -3.0, 5.0, 100.0, -50.0], dtype=np.float32)
    monkeypatch.setattr(TextModel, "score_labels", lambda *given: score(*given) + bias)
    after = list(BASELINES["text_digits"].fit(inputs)())
    assert [row["answer"] for row in after] == [row["answer"] for row in before]
    moved = np.subtract(*([row["log_likelihoods"] for row in rows] for rows in (after, before)))
    assert moved == pytest.approx(np.tile(bias, (8, 1)), abs=1e-3)


def test_the_prior_needs_no_stage_of_the_training_nights(
    cohort_dir: Path, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = EpochWriter.answer

    def spy(writer, dataset, indices, *rest, **more):
        asked.append([(dataset.recordings[0].recording, idx) for idx in indices])
        return real(writer, dataset, indices, *rest, **more)

    monkeypatch.setattr(EpochWriter, "answer", spy)
    inputs = build_baseline_inputs(cohort_dir, num_epochs=3, llm=str(tiny_llm), num_digit_values=20)
    list(BASELINES["text_evidence"].fit(inputs)())
    assert len(asked[0]) == NUM_PRIOR_EPOCHS and {name for name, _ in asked[0]} == {"n0"}
    assert {name for part in asked[1:] for name, _ in part} == {"n3"}


def test_free_answers_are_kept_as_written(cohort_dir: Path, tiny_llm: Path) -> None:
    inputs = build_baseline_inputs(
        cohort_dir, num_epochs=3, llm=str(tiny_llm), num_digit_values=20, free_answers=True, max_new_tokens=5
    )
    rows = list(BASELINES["text_evidence"].fit(inputs)())
    assert len(rows) == 3 and all("probabilities" not in row for row in rows)


def test_a_prompt_that_is_too_long_says_what_to_lower(cohort_dir: Path, tiny_llm: Path) -> None:
    inputs = build_baseline_inputs(cohort_dir, (EEG,), llm=str(tiny_llm), num_digit_values=1900)
    with pytest.raises(ValueError, match="write fewer than 1900 values per epoch with --digits"):
        BASELINES["text_digits"].fit(inputs)
