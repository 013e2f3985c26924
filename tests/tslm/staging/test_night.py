import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tslm
from tests.factories.small import build_small_model
from tests.factories.staging import FS_HZ, NUM_EPOCHS, SCORER_RUN, make_sleep_signal, save_narrow_novelty
from tslm.cli.main import main
from tslm.config.checkpoint import load_checkpoint_config
from tslm.config.schema import ModelConfig
from tslm.data.novelty import NOVELTY_FILE
from tslm.data.readers.open import open_signals
from tslm.data.readers.raw import SignalsConfig
from tslm.labels import SleepStage
from tslm.staging.models import find_models
from tslm.staging.night import (
    NightStager,
    StagingOptions,
    _warn_of_length,
    choose_explained,
    list_numbered_epochs,
)
from tslm.staging.sources import open_source
from tslm.training.checkpoints.checkpoint import save_checkpoint


def test_a_night_comes_with_stages_probabilities_and_texts_of_its_least_certain_fifth(
    unlabelled_night: Path, staging_models: Path
) -> None:
    night = tslm.stage_night(unlabelled_night, model=staging_models, device="cpu")
    assert night.hypnogram.num_epochs == night.recording.num_epochs == NUM_EPOCHS
    assert SleepStage.UNSCORED not in night.hypnogram.sleep_stages
    explained = [epoch["epoch_idx"] for epoch in night.explanations]
    confidence_E = night.probabilities_EK.max(axis=1)
    assert explained == sorted(np.argsort(confidence_E)[: round(NUM_EPOCHS / 5)].tolist())
    assert all(epoch["answer"] in night.label_set.answers for epoch in night.explanations)
    assert all(row["truth"] is None for row in night.rows or ())
    assert dict(night.channels) == {"EEG Fpz-Cz": "F4-M1", "EOG horizontal": "E1-M2"}
    assert any("F4-M1" in note for note in night.recording.notes)


def test_a_file_an_mne_object_and_arrays_are_staged_alike(unlabelled_night: Path, staging_models: Path) -> None:
    mne = pytest.importorskip("mne")
    signals = {"F4-M1": make_sleep_signal(0), "E1-M2": make_sleep_signal(1)}
    options = {"model": staging_models, "device": "cpu", "explain": "2"}
    by_file = tslm.stage_night(unlabelled_night, **options)
    by_mne = tslm.stage_night(mne.io.read_raw(unlabelled_night, verbose="error"), **options)
    by_arrays = tslm.stage_night(signals, FS_HZ, **options)
    in_volt = {name: values / 1e6 for name, values in signals.items()}
    by_volts = tslm.stage_night(in_volt, FS_HZ, unit="V", **options)
    for other in (by_mne, by_arrays, by_volts):
        assert other.sleep_stages == by_file.sleep_stages
        assert other.probabilities_EK == pytest.approx(by_file.probabilities_EK, abs=1e-3)
        assert [each["answer"] for each in other.explanations] == [each["answer"] for each in by_file.explanations]


def test_scoring_alone_needs_no_language_model(unlabelled_night: Path, staging_models: Path, tmp_path: Path) -> None:
    alone = staging_models / "no_llm/classifier/stage0_encoder/checkpoints/best"
    night = tslm.score_night(unlabelled_night, model=alone, device="cpu")
    assert night.rows is None and night.explanations == []
    assert night.checkpoints == {"classifier": str(alone)}
    with pytest.raises(FileNotFoundError, match="--explain none"):
        tslm.stage_night(unlabelled_night, model=alone)


def test_one_stager_takes_several_nights_and_each_by_itself(unlabelled_night: Path, staging_models: Path) -> None:
    stager = NightStager(find_models(staging_models), StagingOptions(explain="0-1"), "cpu")
    first, second = (stager.stage(open_signals(unlabelled_night, SignalsConfig())) for _ in range(2))
    assert first.rows == second.rows
    assert np.array_equal(first.probabilities_EK, second.probabilities_EK)


def test_smoothing_keeps_the_probabilities_and_the_stages_before_it(
    unlabelled_night: Path, staging_models: Path
) -> None:
    plain = tslm.score_night(unlabelled_night, model=staging_models, device="cpu")
    smoothed = tslm.score_night(unlabelled_night, model=staging_models, device="cpu", smoothing="median")
    assert smoothed.unsmoothed == plain.sleep_stages
    assert np.array_equal(smoothed.probabilities_EK, plain.probabilities_EK)


def test_from_python_a_night_is_scored_against_an_experts_hypnogram(
    unlabelled_night: Path, staging_models: Path, tmp_path: Path
) -> None:
    expert = tmp_path / "anna.txt"
    expert.write_text("\n".join(["N2"] * NUM_EPOCHS), encoding="utf-8")
    night = tslm.score_night(unlabelled_night, model=staging_models, device="cpu", expert=expert)
    right = sum(sleep_stage is SleepStage.N2 for sleep_stage in night.sleep_stages)
    assert night.scores["systems"]["classifier"]["num_correct"] == right


def test_a_channel_unlike_those_of_the_training_is_warned_of_in_every_output(
    unlabelled_night: Path, staging_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = shutil.copytree(staging_models / SCORER_RUN / "checkpoints/best", tmp_path / "best")
    before = tslm.score_night(unlabelled_night, model=checkpoint).warnings
    save_narrow_novelty(checkpoint)
    *others, warning = tslm.score_night(unlabelled_night, model=checkpoint).warnings
    assert tuple(others) == before
    assert re.fullmatch(
        r"the EEG Fpz-Cz is unlike those of the training: novelty \d\.\d\d, where 95 % of 40 recordings have less than "
        r"1\.25; check its signal, unit and channel",
        warning,
    )
    out = tmp_path / "out"
    assert main(["score", str(unlabelled_night), "--model", str(checkpoint), "--exports", "--out", str(out)]) == 0
    assert f"warning: {warning}" in capsys.readouterr().out.splitlines()
    assert json.loads((out / "P01/statistics.json").read_text())["warnings"][-1] == warning
    assert warning in (out / "P01/report.html").read_text()


def test_a_damaged_novelty_is_said_before_a_night_is_read(staging_models: Path, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(staging_models / SCORER_RUN / "checkpoints/best", tmp_path / "best")
    (checkpoint / NOVELTY_FILE).write_text("{")
    with pytest.raises(ValueError, match=NOVELTY_FILE):
        tslm.score_night(tmp_path / "gone.edf", model=checkpoint)


def build_single_night(num_epochs: int, first: int, missing: int) -> SimpleNamespace:
    onset_s = np.delete(np.arange(first, first + num_epochs), missing) * 30.0
    recording = SimpleNamespace(num_epochs=num_epochs - 1, epoch_s=30.0, onset_s=onset_s, recording="P01")
    return SimpleNamespace(recording=recording, span=range(first, first + num_epochs))


def test_epochs_are_numbered_from_the_start_of_the_file() -> None:
    night = build_single_night(20, first=100, missing=5)
    assert list_numbered_epochs("100,106-108, 101", night) == [0, 1, 5, 6, 7]


@pytest.mark.parametrize(
    ("num_epochs", "settings", "said"),
    [
        (60, {}, "30 min are little to tell what is typical"),
        (299, {"normalization": "recording"}, "150 min are little"),
        (300, {}, ""),
        (10, {"normalization": "zscore"}, ""),
        (20, {"prior_epochs": 60}, ""),
        (19, {"prior_epochs": 60}, "19 epochs are fewer than the 20"),
    ],
)
def test_a_recording_too_short_for_the_normaliser_is_warned_of(num_epochs: int, settings: dict, said: str) -> None:
    night = SimpleNamespace(recording=SimpleNamespace(num_epochs=num_epochs, epoch_s=30.0))
    warnings = _warn_of_length(night, ModelConfig(**settings))
    assert len(warnings) == bool(said)
    assert all(said in warning for warning in warnings)


@pytest.mark.parametrize("explain", ["some", "1-", "5-3", "1;2", "99", "105", "120", ""])
def test_epochs_that_are_not_there_are_refused(explain: str) -> None:
    with pytest.raises(ValueError, match="explain=|not among the staged"):
        list_numbered_epochs(explain, build_single_night(20, first=100, missing=5))


def test_all_and_none_are_what_they_say() -> None:
    night = build_single_night(20, first=0, missing=5)
    probabilities_EK = np.full((19, 5), 0.2)
    assert choose_explained("all", night, probabilities_EK) == list(range(19))
    assert choose_explained("none", night, probabilities_EK) == []


def test_a_night_without_the_eog_of_the_model_names_it_and_lists_the_channels(staging_models: Path) -> None:
    with pytest.raises(ValueError, match=r"EOG.*F4-M1"):
        tslm.score_night({"F4-M1": make_sleep_signal(0)}, FS_HZ, model=staging_models)


def test_a_night_without_eog_is_staged_and_says_so_where_the_models_have_learned_to_do_without(
    staging_models: Path, tiny_llm: Path, tmp_path: Path
) -> None:
    folders = ("no_llm/classifier/stage0_encoder", "tiny/soft_prompt/stage4_sleep_cot")
    for folder in folders:
        config = load_checkpoint_config(staging_models / folder / "checkpoints/best")
        config = replace(config, model=replace(config.model, channel_dropout=0.3))
        save_checkpoint(build_small_model(config, lora_noise=0.1), config, {}, tmp_path / folder / "checkpoints/best")
    night = tslm.stage_night({"F4-M1": make_sleep_signal(0)}, FS_HZ, model=tmp_path, device="cpu", explain="all")
    assert "no channel to read as 'EOG horizontal': staged without it" in night.recording.notes
    assert dict(night.channels) == {"EEG Fpz-Cz": "F4-M1"}
    assert len(night.explanations) == NUM_EPOCHS
    both = tslm.score_night(
        {"F4-M1": make_sleep_signal(0), "E1-M2": make_sleep_signal(1)}, FS_HZ, model=tmp_path, device="cpu"
    )
    assert not np.allclose(both.probabilities_EK, night.probabilities_EK, atol=1e-4)


@pytest.mark.parametrize("smoothing", ["none", "median"])
def test_no_stage_is_given_for_a_probability_that_is_not_finite(
    staging_models: Path, monkeypatch: pytest.MonkeyPatch, smoothing: str
) -> None:
    stager = NightStager(find_models(staging_models, with_texts=False), StagingOptions(smoothing=smoothing), "cpu")
    monkeypatch.setattr(type(stager.scorer), "score", lambda *_: np.full((NUM_EPOCHS, 5), np.nan))
    with pytest.raises(ValueError, match="no finite probabilities for 12 of 12 epochs"):
        stager.stage(open_source({"F4-M1": make_sleep_signal(0), "E1-M2": make_sleep_signal(1)}, FS_HZ))


def test_a_night_shorter_than_an_epoch_is_refused(staging_models: Path) -> None:
    signals = {"F4-M1": make_sleep_signal(0)[:2000], "E1-M2": make_sleep_signal(1)[:2000]}
    with pytest.raises(ValueError, match="less than one epoch"):
        tslm.score_night(signals, FS_HZ, model=staging_models)


def test_models_of_different_rates_are_refused(staging_models: Path, tmp_path: Path) -> None:
    models = find_models(staging_models)
    assert models.writer is not None
    from tslm.staging.models import _check_alike

    other = replace(models.writer, model=replace(models.writer.model, fs_hz=128.0))
    with pytest.raises(ValueError, match=r"fs_hz is 100.0 in .* and 128.0"):
        _check_alike(replace(models, writer=other))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"species": "mouse"}, "night is of a mouse, and the model gives the sleep stages of a human"),
        ({"channel": "F4-M1", "extra_channels": ["F4-M1"]}, "'F4-M1' is given as 'EEG Fpz-Cz' and as 'EOG horizontal'"),
    ],
)
def test_a_night_that_does_not_suit_the_models_is_refused(staging_models: Path, options: dict, message: str) -> None:
    signals = {"F4-M1": make_sleep_signal(0), "E1-M2": make_sleep_signal(1)}
    with pytest.raises(ValueError, match=message):
        tslm.score_night(signals, FS_HZ, model=staging_models, **options)
