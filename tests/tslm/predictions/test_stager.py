from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from transformers import AutoTokenizer

import tslm
from tests.factories.recordings import build_night, draw_stages
from tests.factories.small import (
    CHANNEL,
    build_small_model,
    sleep_dataset,
    small_config,
    small_recording,
    small_sample,
    write_small_cohort,
)
from tslm.answers.grammar import parse_answer
from tslm.data.samples.collate import Collator
from tslm.data.samples.corpus_dataset import CorpusDataset
from tslm.data.samples.recordings_dataset import NightDataset, SleepDataset
from tslm.labels import SleepStage
from tslm.predictions.calibration import Calibration, save_calibration
from tslm.predictions.epoch_writer import EpochWriter
from tslm.predictions.night_scorer import NightScorer
from tslm.predictions.rows import write_predictions
from tslm.predictions.scorings import parse_row_answer, read_scorings
from tslm.predictions.stager import build_stager
from tslm.prompts import render_caption_prompt, render_ecg_prompt
from tslm.scoring.systems import score_systems
from tslm.training.checkpoints.checkpoint import save_checkpoint


def classifier_config(**changes: Any) -> Any:
    return small_config(model__name="classifier", stage__trained=("encoder", "context", "classifier"), **changes)


@torch.no_grad()
def test_a_night_scored_whole_is_the_night_seen_through_one_wide_window() -> None:
    config = classifier_config(model__context__window_epochs=25)
    model = build_small_model(config)
    recording = small_recording()
    dataset = NightDataset([recording], config)
    centre = dataset.describe(0)["epoch_idx"]
    batch = Collator(config.model, None)([dataset[0]])
    logits = model.logits(batch.window_BWCL, batch.epoch_mask_BW)[1][0]
    first = config.model.context.window_epochs // 2 - centre
    expected = logits[first : first + recording.num_epochs].softmax(-1).numpy()
    probabilities = NightScorer(model, config).score(recording)
    assert probabilities.shape == (10, 5)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert np.allclose(probabilities, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["bigru", "transformer"])
@torch.no_grad()
def test_several_channels_scored_whole_are_the_night_through_one_wide_window(kind: str) -> None:

    config = classifier_config(
        stage__extra_channels=("EMG",),
        model__context__kind=kind,
        model__context__window_epochs=25,
    )
    model = build_small_model(config)
    torch.nn.init.normal_(model.reader.channel_offset_CD)
    recording = small_recording()
    dataset = NightDataset([recording], config)
    batch = Collator(config.model, None)([dataset[0]])
    first = 25 // 2 - dataset.describe(0)["epoch_idx"]
    for each_alone in (True, False):
        logits = model.logits(batch.window_BWCL, batch.epoch_mask_BW)[0 if each_alone else 1][0]
        expected = logits[first : first + recording.num_epochs].softmax(-1).numpy()
        scored = NightScorer(model, config, each_alone=each_alone).score(recording)
        assert np.allclose(scored, expected, atol=1e-5)
    recording.channels["EMG"][:] = recording.channels["EMG"][::-1]
    assert not np.allclose(NightScorer(model, config).score(recording), expected, atol=1e-3)


def test_scoring_with_other_channels_than_the_model_reads_says_which_settings_differ() -> None:
    model, config = build_small_model(classifier_config()), classifier_config(stage__extra_channels=("EMG",))
    with pytest.raises(ValueError, match=r"2 channels \(EEG Fpz-Cz, EMG\) for a model that reads 1"):
        NightScorer(model, config).score(small_recording())


def test_a_night_whose_epochs_are_too_long_names_the_setting() -> None:
    config = classifier_config(model__encoder__max_patches=5)
    with pytest.raises(ValueError, match=r"6 patches exceeds .* 5 positions; raise model.encoder.max_patches"):
        NightScorer(build_small_model(config), config).score(small_recording())


@pytest.mark.parametrize("kind", ["bigru", "transformer"])
def test_a_night_is_scored_as_its_pieces_between_gaps(kind: str) -> None:
    config = classifier_config(  # one changed epoch changes no reference
        model__normalization="recording", model__context__kind=kind
    )
    model = build_small_model(config)
    whole = small_recording(onset_s=30.0 * np.array([0, 1, 2, 3, 20, 21, 22, 23, 24, 25]))
    probabilities = NightScorer(model, config).score(whole)
    changed = small_recording(onset_s=whole.onset_s)
    changed.channels[CHANNEL][4] = np.random.default_rng(5).normal(0, changed.channels[CHANNEL][4].std(), 600)
    moved = np.abs(NightScorer(model, config).score(changed) - probabilities).max(axis=1) > 1e-4
    assert not moved[:4].any()
    assert moved[4:].any()


def test_an_epoch_read_alone_does_not_depend_on_its_neighbours() -> None:
    config = classifier_config()
    model = build_small_model(config)
    night, backwards = small_recording(), small_recording()
    backwards.channels[CHANNEL][:] = night.channels[CHANNEL][::-1]
    alone = [NightScorer(model, config, each_alone=True).score(one) for one in (night, backwards)]
    in_context = [NightScorer(model, config).score(one) for one in (night, backwards)]
    assert np.allclose(alone[0], alone[1][::-1], atol=1e-5)
    assert not np.allclose(in_context[0], in_context[1][::-1], atol=1e-5)


def test_classifier_rows_are_predictions_that_score(tmp_path: Path) -> None:
    config = classifier_config()
    stages = [SleepStage.WAKE, SleepStage.UNSCORED, *([SleepStage.N2] * 4), SleepStage.REM, SleepStage.MOVEMENT]
    rows = list(NightScorer(build_small_model(config), config).answer([small_recording(sleep_stages=stages)]))
    assert [row["epoch_idx"] for row in rows] == [0, 2, 3, 4, 5, 6]
    assert {row["subject"] for row in rows} == {"subject of night1"}
    write_predictions(rows, tmp_path / "rows.jsonl")
    metrics = score_systems(read_scorings(tmp_path / "rows.jsonl"), num_resamples=0)
    assert metrics["num_samples"] == 6
    assert metrics["systems"]["classifier"]["num_parse_failures"] == 0
    for row in rows:
        assert row["answer"] == row["options"][int(np.argmax(row["probabilities"]))]


@pytest.fixture(scope="module")
def text_model(tiny_llm: Path) -> Any:
    config = small_config(tiny_llm, train__eval_batch_size=3)
    return config, build_small_model(config, lora_noise=0.1)


def test_generated_rows_follow_the_indices_and_do_not_depend_on_the_batch(text_model: Any) -> None:
    config, model = text_model
    dataset = sleep_dataset(config)
    indices = [8, 1, 4, 5]
    rows = list(EpochWriter(model, config).answer(dataset, indices))
    assert [row["sample_id"] for row in rows] == [f"night1:{idx}" for idx in indices]
    assert [row["truth"] for row in rows] == [dataset[idx].answer for idx in indices]
    alone = [next(iter(EpochWriter(model, config).answer(dataset, [idx]))) for idx in indices]
    for row, single in zip(rows, alone, strict=True):
        scores = [pytest.approx(value, abs=1e-3) for value in single.pop("log_likelihoods")]
        assert row.pop("log_likelihoods") == scores
        assert row.pop("probabilities") == pytest.approx(single.pop("probabilities"), abs=1e-3)
        assert row == single
    assert all(row["evidence"] for row in rows)
    assert {row["subject"] for row in rows} == {"subject of night1"}


def test_answers_held_to_their_options_always_parse_and_come_with_probabilities(text_model: Any) -> None:
    config, model = text_model
    dataset, calibration = sleep_dataset(config), Calibration(answer=4.0, rationale=2.0)
    for with_rationale, temperature in ((True, 2.0), (False, 4.0)):
        for row in EpochWriter(model, config, calibration).answer(dataset, range(5), with_rationale):
            probabilities = row["probabilities"]
            assert parse_row_answer(row) == row["options"][int(np.argmax(probabilities))]
            assert np.allclose(probabilities, softmax(np.array(row["log_likelihoods"]) / temperature), atol=1e-5)
            assert row["temperature"] == temperature
            assert ("forced" in row) == ("generated" in row) == with_rationale


def test_free_answers_are_neither_scored_nor_held_to_anything(text_model: Any) -> None:
    config, model = text_model
    free = small_config(config.llm.source, stage__constrained=False)
    (row,) = EpochWriter(model, free).answer(sleep_dataset(free), [0])
    assert parse_answer(row["generated"], row["options"]) is None
    assert "probabilities" not in row


def test_captions_have_no_answer_to_choose(text_model: Any) -> None:
    config, model = text_model
    dataset = CorpusDataset([small_sample(0, "caption")], lambda _sample: render_caption_prompt())
    with pytest.raises(ValueError, match="captions have none"):
        list(EpochWriter(model, config).answer(dataset, explain=False))
    (row,) = EpochWriter(model, config).answer(dataset)
    assert row["options"] == []
    assert "forced" not in row


def test_a_temperature_flattens_the_classifier_and_changes_no_answer() -> None:
    config = classifier_config()
    model, recording = build_small_model(config), small_recording()
    plain = NightScorer(model, config).score(recording)
    flat = NightScorer(model, config, Calibration(classifier=5.0)).score(recording)
    assert np.array_equal(plain.argmax(1), flat.argmax(1))
    assert np.allclose(flat, softmax(np.log(plain) / 5.0, axis=1), atol=1e-5)
    row, *_ = NightScorer(model, config, Calibration(classifier=5.0)).answer(recording)
    assert row["temperature"] == 5.0
    alone, *_ = NightScorer(model, config, Calibration(classifier=5.0), each_alone=True).answer(recording)
    assert alone["temperature"] is None


def test_temperatures_are_fitted_on_the_validation_subjects_alone(text_model: Any, tmp_path: Path) -> None:
    config, model = text_model
    cohort = str(write_small_cohort(tmp_path))
    for name in ("night1", "night2", "night4"):  # train and test
        (tmp_path / f"{name}.parquet").unlink()
    stage = {"stage__train_dir": cohort, "stage__num_calibration_samples": 6, "stage__max_new_tokens": 6}
    calibration = EpochWriter(model, small_config(config.llm.source, **stage)).fit_calibration(show_progress=False)
    assert calibration.classifier is None
    assert calibration.answer is not None and calibration.rationale is not None
    scorer = classifier_config(**stage)
    calibration = NightScorer(build_small_model(scorer), scorer).fit_calibration()
    assert calibration.classifier is not None


def test_generated_rows_of_a_corpus_can_be_written_and_scored(text_model: Any, tmp_path: Path) -> None:
    config, model = text_model
    samples = [small_sample(idx, "ecg", 2) for idx in range(4)]
    dataset = CorpusDataset(samples, lambda sample: render_ecg_prompt(sample.question, sample.options))
    rows = list(EpochWriter(model, config).answer(dataset))
    write_predictions(rows, tmp_path / "rows.jsonl")
    metrics = score_systems(read_scorings(tmp_path / "rows.jsonl"), num_resamples=0)
    assert metrics["num_samples"] == 4
    assert rows[0]["target"] == "Seen in both leads. Answer: (a) slow"


def test_generation_stops_at_the_end_token(text_model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config, model = text_model
    tokenizer = AutoTokenizer.from_pretrained(config.llm.source)
    end = tokenizer.eos_token_id
    ids = [*tokenizer("Answer: Wake", add_special_tokens=False).input_ids, end, *tokenizer("more").input_ids]
    monkeypatch.setattr(model, "generate", lambda *_, **__: torch.tensor([ids]))
    (row,) = EpochWriter(model, config).answer(sleep_dataset(config), [0])
    assert row["generated"] == "Answer: Wake"


@pytest.mark.parametrize("kind", ["scorer", "writer"])
def test_a_recording_is_answered_as_in_its_data_set(kind: str, text_model: Any) -> None:
    config, model = text_model
    if kind == "scorer":
        config = classifier_config()
        model = build_small_model(config)
    stager, recording = build_stager(model, config), small_recording()
    source = [recording] if kind == "scorer" else sleep_dataset(config)
    whole = list(stager.answer(source, explain=False))
    assert [row["epoch_idx"] for row in whole] == list(range(10))
    some = [(row["sample_id"], row["answer"]) for row in stager.answer(recording, [7, 2], explain=False)]
    assert some == [(whole[idx]["sample_id"], whole[idx]["answer"]) for idx in (7, 2)]
    assert list(stager.answer(recording, [], explain=False)) == []
    probabilities = [row["probabilities"] for row in whole]
    np.testing.assert_allclose(stager.score(recording), probabilities, atol=1e-3)


@pytest.mark.parametrize("kind", ["scorer", "writer"])
def test_an_epoch_without_an_experts_stage_is_answered_where_it_is_asked_for(kind: str, text_model: Any) -> None:
    config, model = text_model
    if kind == "scorer":
        config = classifier_config()
        model = build_small_model(config)
    recording = small_recording(sleep_stages=[SleepStage.UNSCORED, SleepStage.N2])
    stager = build_stager(model, config)
    assert [row["epoch_idx"] for row in stager.answer(recording, explain=False)] == [1]
    row, _ = stager.answer(recording, [0, 1], explain=False)
    assert (row["epoch_idx"], row["truth"]) == (0, None)
    assert row["answer"] in row["options"]


@pytest.mark.parametrize("kind", ["scorer", "writer"])
@pytest.mark.parametrize("explain", [False, True])
def test_no_answer_is_given_by_a_model_whose_probabilities_are_not_finite(
    kind: str, explain: bool, tiny_llm: Path
) -> None:
    config = classifier_config() if kind == "scorer" else small_config(tiny_llm, stage__constrained=True)
    model = build_small_model(config)
    for weight_NM in model.parameters():
        torch.nn.init.constant_(weight_NM, torch.nan)
    with pytest.raises(ValueError, match="no finite probabilities"):
        list(build_stager(model, config).answer(small_recording(), explain=explain))


def test_rows_come_in_portions_that_change_no_answer(text_model: Any) -> None:
    config, model = text_model
    stager, recording = EpochWriter(model, config), small_recording()
    portions = list(stager.answer(recording, explain=False, rows_at_once=4))
    assert [row["answer"] for row in portions] == [row["answer"] for row in stager.answer(recording, explain=False)]


def test_a_checkpoint_is_opened_with_its_temperatures_and_an_encoder_alone_is_refused(tmp_path: Path) -> None:
    config = classifier_config()
    save_checkpoint(build_small_model(config), config, {}, tmp_path / "best")
    save_calibration(Calibration(classifier=5.0), tmp_path / "best")
    stager = tslm.open_stager(tmp_path / "best")
    row, *_ = stager.answer(small_recording())
    assert row["temperature"] == 5.0
    encoder = small_config(model__name="masked_encoder", stage__trained=("encoder",))
    save_checkpoint(build_small_model(encoder), encoder, {}, tmp_path / "encoder")
    with pytest.raises(ValueError, match="holds an encoder without a head; train stage0_encoder from it"):
        tslm.open_stager(tmp_path / "encoder")


def test_a_language_model_cannot_leave_neighbours_out(text_model: Any) -> None:
    config, model = text_model
    with pytest.raises(ValueError, match="each_alone is for classifiers"):
        build_stager(model, config, each_alone=True)


def test_answers_after_given_rationales_are_those_of_each_alone_and_without_one_those_after_the_prompt() -> None:
    config = small_config(model__encoder__max_patches=64)
    writer = EpochWriter(build_small_model(config, lora_noise=0.5), config)
    dataset = SleepDataset([build_night("n", draw_stages(10, 0))], config)
    texts = {4: "Two spindles.", 1: "", 7: "Slow waves in 40% of the epoch, leading delta."}
    rows = list(writer.answer_after(dataset, texts))
    assert [row["epoch_idx"] for row in rows] == [4, 1, 7]
    for (idx, text), row in zip(texts.items(), rows, strict=True):
        (alone,) = writer.answer_after(dataset, {idx: text})
        (plain,) = writer.answer(dataset, [idx], explain=False)
        assert np.allclose(row["log_likelihoods"], alone["log_likelihoods"], atol=1e-3)
        assert np.allclose(row["log_likelihoods"], plain["log_likelihoods"], atol=1e-3) == (not text)
