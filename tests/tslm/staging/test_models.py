"""Which models stage a night: those of the package by name or by default, and those of a folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import tslm
from tests.factories.staging import SCORER_RUN, WRITER_RUN, name_base
from tslm.config.checkpoint import CHECKPOINT_CONFIG_FILE
from tslm.files import read_json
from tslm.hub import TSLMProcessor
from tslm.staging.models import find_models


def test_without_a_choice_a_night_is_staged_and_explained_by_the_package(
    package: Path, unlabelled_night: Path, staging_models: Path
) -> None:
    night = tslm.stage_night(unlabelled_night, device="cpu", explain="0-1")
    trained = tslm.stage_night(unlabelled_night, model=staging_models, device="cpu", explain="0-1")
    by = f"(tslm-sleep {tslm.__version__})"
    assert night.checkpoints == {"classifier": f"human {by}", "language_model": f"explain-tiny {by}"}
    assert [each["answer"] for each in night.explanations] == [each["answer"] for each in trained.explanations]
    scored = tslm.score_night(unlabelled_night, model="human", device="cpu")
    assert np.array_equal(scored.probabilities_EK, night.probabilities_EK) and scored.rows is None


def test_half_the_bits_of_the_weights_move_no_probability_by_a_hundredth(
    package: Path, unlabelled_night: Path, staging_models: Path
) -> None:
    stored = tslm.score_night(unlabelled_night, model="human", device="cpu")
    trained = tslm.score_night(unlabelled_night, model=staging_models, device="cpu")
    logits, as_trained = (np.log(night.probabilities_EK) for night in (stored, trained))
    logits = 1.25 * logits  # the temperature that the package got
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert np.abs(np.exp(logits) - np.exp(as_trained)).max() < 0.01
    assert not np.array_equal(stored.probabilities_EK, trained.probabilities_EK)
    weights = tslm.open_stager("human").model.parameters()
    assert {str(param.dtype) for param in weights} == {"torch.float32"}


def test_names_and_folders_go_together(package: Path, staging_models: Path) -> None:
    scorer, writer = (staging_models / run / "checkpoints/best" for run in (SCORER_RUN, WRITER_RUN))
    by_default, by_name = find_models(), find_models("human", "explain-tiny")
    assert (by_default.classifier_dir, by_default.writer_dir) == (package / "human", package / "explain-tiny")
    assert by_default == by_name == find_models("human", "tiny-base")
    assert find_models(scorer, "explain-tiny").writer_dir == package / "explain-tiny"
    assert find_models("human", str(writer)).writer_dir == writer
    assert find_models("human", with_texts=False).writer_dir is None


@pytest.mark.parametrize(
    ("model", "llm", "said"),
    [
        ("explain-tiny", "", "no scorer but the explainer of the package; name it by --llm"),
        ("human", "human", "no explainer but the scorer of the package; name it by --model"),
        (
            "human",
            "llama-3.2-1b",
            r"no language model of llama-3.2-1b that explains what human stages; .*--explain none",
        ),
        ("mouse", "", r"no folder mouse, and .* \(it has explain-tiny, human\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(package: Path, model: str, llm: str, said: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=said) as caught:
        find_models(model, llm)
    assert "\n" not in str(caught.value)


def test_an_explainer_beside_other_weights_than_its_own_is_refused_before_anything_is_staged(
    package: Path, tmp_path: Path, staging_models: Path
) -> None:
    checkpoint = tmp_path / "other"
    checkpoint.mkdir()
    found = read_json(package / "explain-tiny" / CHECKPOINT_CONFIG_FILE)
    found["settings"]["llm"]["sha256"] = "0" * 64
    (checkpoint / CHECKPOINT_CONFIG_FILE).write_text(json.dumps(found))
    models = find_models("human", str(checkpoint))
    with pytest.raises(ValueError, match=f"trained on tiny-base of SHA-256 {'0' * 12}, and this version") as caught:
        models.fetch_llm()
    assert "\n" not in str(caught.value)
    name_base(checkpoint, "someone/model")
    with pytest.raises(ValueError, match="no pinned weights of that name"):
        models.fetch_llm()


def test_the_processor_of_an_explainer_has_the_tokenizer_of_its_base(package: Path, staging_models: Path) -> None:
    processors = [
        TSLMProcessor.from_pretrained(folder)
        for folder in (package / "explain-tiny", staging_models / WRITER_RUN / "checkpoints/best")
    ]
    ids = [processor.tokenizer("Answer: Wake").input_ids for processor in processors if processor.tokenizer]
    assert len(ids) == 2 and ids[0] == ids[1]


def test_scorer_and_explainer_that_name_the_eeg_otherwise_read_the_same_channel(
    unlabelled_night: Path, staging_models: Path, tmp_path: Path
) -> None:
    scorer = tmp_path / "scorer"
    shutil.copytree(staging_models / SCORER_RUN / "checkpoints/best", scorer)
    config = json.loads((scorer / CHECKPOINT_CONFIG_FILE).read_text())
    config["settings"]["stage"]["channel"] = "EEG"
    (scorer / CHECKPOINT_CONFIG_FILE).write_text(json.dumps(config))
    writer = str(staging_models / WRITER_RUN / "checkpoints/best")
    night = tslm.stage_night(unlabelled_night, model=scorer, llm=writer, device="cpu", explain="0-1")
    trained = tslm.stage_night(unlabelled_night, model=staging_models, device="cpu", explain="0-1")
    assert dict(night.channels) == {"EEG": "F4-M1", "EOG horizontal": "E1-M2"}  # the file has no other EEG
    assert [each["text"] for each in night.explanations] == [each["text"] for each in trained.explanations]
