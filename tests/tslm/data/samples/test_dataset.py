from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.factories.small import (
    AASM,
    CHANNEL,
    sleep_dataset,
    small_config,
    small_recording,
    write_small_cohort,
    write_small_corpus,
)
from tslm.batch import IGNORE_INDEX, Reference
from tslm.config.schema import AugmentConfig
from tslm.data.prepared.recordings import read_participants, write_participants, write_recording
from tslm.data.samples.dataset import build_dataset, describe_nights
from tslm.data.samples.night_windows import cut_window, load_recordings
from tslm.data.samples.recordings_dataset import NightDataset, SleepDataset
from tslm.data.samples.sample_weights import weigh_samples
from tslm.data.samples.sampling import draw_samples, spread_subset
from tslm.labels import SleepStage
from tslm.signals.augment import NUM_DRAWS, jitter_spectrum

CONFIG = small_config()
WITH_GAP_S = 30.0 * np.array([0, 1, 2, 3, 10, 11, 12, 13, 14, 15])


def test_only_epochs_that_the_labels_can_answer_are_samples() -> None:
    stages = [SleepStage.WAKE, SleepStage.UNSCORED, SleepStage.N2, SleepStage.MOVEMENT, SleepStage.REM]
    dataset = sleep_dataset(CONFIG, sleep_stages=stages)
    assert [dataset[idx].answer for idx in range(len(dataset))] == ["Wake", "Non-REM stage 2", "REM sleep"]
    assert [dataset.describe(idx)["epoch_idx"] for idx in range(len(dataset))] == [0, 2, 4]
    assert dataset.class_idx.tolist() == [0, 2, 4]
    with_movement = sleep_dataset(small_config(model__label_set="aasm_movement"), sleep_stages=stages)
    assert [with_movement[idx].answer for idx in range(4)][2] == "Movement"


def test_a_sleep_sample_holds_rationale_answer_and_measured_text() -> None:
    dataset = sleep_dataset(CONFIG)
    example = dataset[3]
    values = dataset.recordings[0].channels[CHANNEL][3]
    assert example.response == "The rhythm is that of epoch 3. Answer: Non-REM stage 3"
    assert f"mean {values.mean():.2f} and std {values.std():.2f} uV" in example.series[0].text
    assert example.answer in example.options
    assert example.answer not in example.pre_prompt
    assert dataset.describe(3)["evidence"]["rms_uv"] == pytest.approx(values.std(), rel=1e-3)


def test_a_window_stops_at_the_ends_and_at_gaps() -> None:
    recording = small_recording(onset_s=WITH_GAP_S)
    sleep_stage_idx = np.arange(10) % 5

    def epochs_in_view(centre: int) -> list[int]:
        window = cut_window(recording, [CHANNEL], sleep_stage_idx, centre, 5, (Reference(),))
        assert window.sleep_stage_idx_W[~window.epoch_mask_W].tolist() == [IGNORE_INDEX] * int(
            (~window.epoch_mask_W).sum()
        )
        assert bool((window.values_WCL[~window.epoch_mask_W] == 0).all())
        for row in np.flatnonzero(window.epoch_mask_W):
            assert np.array_equal(window.values_WCL[row, 0], recording.channels[CHANNEL][centre - 2 + row])
        return (np.flatnonzero(window.epoch_mask_W) + centre - 2).tolist()

    assert epochs_in_view(0) == [0, 1, 2]
    assert epochs_in_view(3) == [1, 2, 3]
    assert epochs_in_view(4) == [4, 5, 6]
    assert epochs_in_view(7) == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("num_epochs", [1, 2, 3, 7, 10, 26])
@pytest.mark.parametrize("window_epochs", [1, 2, 5, 24, 25])
def test_windows_of_a_night_cover_every_epoch(num_epochs: int, window_epochs: int) -> None:
    config = small_config(model__context__window_epochs=window_epochs)
    dataset = NightDataset([small_recording(num_epochs=num_epochs)], config)
    covered: set[int] = set()
    for idx in range(len(dataset)):
        window, centre = dataset[idx].window, dataset.describe(idx)["epoch_idx"]
        assert window is not None
        covered |= set((np.flatnonzero(window.epoch_mask_W) + centre - window_epochs // 2).tolist())
    assert covered == set(range(num_epochs))


def test_a_window_without_a_scored_epoch_is_no_sample() -> None:
    stages = [SleepStage.UNSCORED] * 20 + [SleepStage.WAKE] * 3
    dataset = NightDataset([small_recording(sleep_stages=stages)], CONFIG)
    windows = [dataset[idx].window for idx in range(len(dataset))]
    assert windows
    assert all((window.sleep_stage_idx_W >= 0).any() for window in windows)
    assert dataset.count_classes().tolist() == [3, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "augment",
    [{"gain_jitter": 0.3}, {"max_shift_s": 1.0}, {"max_noise": 0.1}, {"max_notch_hz": 1.0}, {"electrode_loss": 1.0}],
)
def test_each_augmentation_changes_training_windows_by_the_seed_and_leaves_gaps_empty(augment: dict) -> None:
    off = dict.fromkeys(("gain_jitter", "band_jitter"), 0.0)
    config = replace(CONFIG, augment=AugmentConfig(**{**off, **augment}))
    nights = [small_recording(onset_s=WITH_GAP_S)]
    plain = NightDataset(nights, config)

    def draw(seed: int) -> list[np.ndarray]:
        torch.manual_seed(seed)
        dataset = NightDataset(nights, config, augmented=True)
        return [dataset[idx].window.values_WCL for idx in range(len(dataset))]

    first, again, other = draw(1), draw(1), draw(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    for idx, values_WCL in enumerate(first):
        window = plain[idx].window
        assert values_WCL.dtype == np.float32
        assert bool((values_WCL[~window.epoch_mask_W] == 0).all())
        assert not np.array_equal(values_WCL, window.values_WCL)


def test_without_augmentation_a_training_window_is_the_night_and_no_number_is_drawn() -> None:
    config = replace(CONFIG, augment=AugmentConfig(gain_jitter=0.0, band_jitter=0.0))
    plain, augmented = (NightDataset([small_recording()], config, augmented=flag) for flag in (False, True))
    state = torch.get_rng_state()
    for idx in range(len(plain)):
        assert np.array_equal(plain[idx].window.values_WCL, augmented[idx].window.values_WCL)
    assert torch.equal(torch.get_rng_state(), state)


def test_by_default_gain_and_bands_are_jittered_and_nothing_else() -> None:
    torch.manual_seed(5)
    window = NightDataset([small_recording()], CONFIG, augmented=True)[0].window
    torch.manual_seed(5)
    before = NightDataset([small_recording()], CONFIG)[0].window.values_WCL
    wanted = jitter_spectrum(before[:, 0], 0.2 * torch.randn(NUM_DRAWS).numpy())
    assert np.allclose(window.values_WCL[:, 0], wanted, atol=1e-3)


def test_each_split_holds_its_own_recordings(tmp_path: Path) -> None:
    write_small_cohort(tmp_path)
    names = {
        split: [rec.recording for rec in load_recordings(tmp_path, split, [CHANNEL])] for split in ("train", "test")
    }
    assert names == {"train": ["night1", "night2"], "test": ["night4"]}


def test_a_leak_in_the_participants_is_found_on_reading(tmp_path: Path) -> None:
    write_small_cohort(tmp_path)
    path = tmp_path / "participants.tsv"
    path.write_text(path.read_text().replace("subject of night4", "subject of night1"))
    with pytest.raises(ValueError, match="leak"):
        load_recordings(tmp_path, "train", [CHANNEL])


@pytest.mark.parametrize("reader", ["sleep", "night", "unlabelled", "choice", "caption", "ecg"])
def test_every_task_gives_samples_of_every_split(reader: str, tmp_path: Path) -> None:
    if reader in ("sleep", "night", "unlabelled"):
        write_small_cohort(tmp_path)
    else:
        write_small_corpus(tmp_path, reader)
    config = small_config(stage__task=reader, stage__train_dir=str(tmp_path))
    ids: list[str] = []
    for split in ("train", "val", "test"):
        dataset = build_dataset(config, split)
        examples = [dataset[idx] for idx in range(len(dataset))]
        ids += [example.sample_id for example in examples]
        assert all(not example.answer or example.answer in example.options for example in examples)
        assert dataset.count_sample_classes().shape == (len(dataset), len(dataset.sleep_stages))
    assert len(set(ids)) == len(ids)


def test_a_wrong_task_or_an_empty_split_is_a_value_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose one of: sleep, night, unlabelled, choice"):
        build_dataset(small_config(stage__task="dream"), "train")
    write_participants([write_recording(small_recording(), tmp_path, "train")], tmp_path)
    assert len(read_participants(tmp_path)) == 1
    with pytest.raises(ValueError, match="no sample of split 'val'"):
        build_dataset(small_config(stage__train_dir=str(tmp_path)), "val")


def test_balanced_sampling_draws_classes_evenly_and_repeats_with_its_seed() -> None:
    stages = [AASM[0]] * 40 + [AASM[1]] * 4 + [AASM[4]] * 4
    dataset = sleep_dataset(CONFIG, sleep_stages=stages)
    stage = replace(CONFIG.stage, sampling="balanced", num_train_samples=3000)
    weights_N = weigh_samples(dataset, stage)
    draws = [draw_samples(len(dataset), 3000, weights_N, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    counts = np.bincount(dataset.class_idx[draws[0]], minlength=5)
    assert counts[[2, 3]].tolist() == [0, 0]
    assert counts[[0, 1, 4]].min() > 850


def test_plain_sampling_takes_each_sample_at_most_once_in_a_new_order_each_pass() -> None:
    rng = np.random.default_rng(0)
    first, second = (draw_samples(20, 0, None, rng) for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert len(set(draw_samples(20, 7, None, rng))) == 7


@pytest.mark.parametrize(("wanted", "count"), [(0, 20), (1, 1), (5, 5), (20, 20), (99, 20)])
def test_evaluation_samples_are_spread_over_the_set(wanted: int, count: int) -> None:
    indices = list(spread_subset(sleep_dataset(CONFIG, num_epochs=20), wanted).indices)
    assert len(set(indices)) == count
    if count > 1:
        assert (indices[0], indices[-1]) == (0, 19)
        assert max(np.diff(indices)) - min(np.diff(indices)) <= 1


@pytest.mark.parametrize(("key", "value"), [("fs_hz", 100.0), ("epoch_s", 10.0)])
def test_nights_of_another_rate_or_epoch_length_than_the_models_are_refused(key: str, value: float) -> None:
    config = small_config(**{f"model__{key}": value})
    for dataset in (SleepDataset, NightDataset):
        with pytest.raises(ValueError, match=rf"night1 has {key}=.* the model reads {value:g} .*{key}={value:g}"):
            dataset([small_recording()], config)


def test_the_models_rate_is_that_of_its_training_nights_and_one_only(tmp_path: Path) -> None:
    model = describe_nights(CONFIG.model, sleep_dataset(CONFIG))
    assert (model.fs_hz, model.epoch_s) == (20.0, 30.0)
    corpus = build_dataset(
        small_config(stage__task="choice", stage__train_dir=str(write_small_corpus(tmp_path, "choice"))), "train"
    )
    assert describe_nights(CONFIG.model, corpus) == CONFIG.model
    faster = replace(small_recording("fast"), fs_hz=40.0)
    with pytest.raises(ValueError, match="fast has fs_hz=40"):
        describe_nights(CONFIG.model, SleepDataset([small_recording(), faster], CONFIG))
