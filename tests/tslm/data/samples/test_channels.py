"""Several channels of one night, from the prepared recording to the batch."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.factories.small import (
    CHANNEL,
    build_small_model,
    collate,
    sleep_dataset,
    small_config,
    small_recording,
    small_sample,
    write_small_cohort,
)
from tslm.batch import SERIES_SLOT
from tslm.config.schema import AugmentConfig
from tslm.data.samples.collate import Collator
from tslm.data.samples.corpus_dataset import CorpusDataset
from tslm.data.samples.dataset import build_dataset
from tslm.data.samples.recordings_dataset import NightDataset, SleepDataset
from tslm.data.samples.references import measure_references
from tslm.prompts import render_ecg_prompt
from tslm.signals.normalize import normalize_series

BOTH = {"stage__extra_channels": ("EMG",)}


@pytest.fixture(scope="module")
def config(tiny_llm: Path) -> Any:
    return small_config(tiny_llm, **BOTH)


def test_each_channel_is_a_series_with_its_own_words_and_its_own_yardstick(config: Any) -> None:
    dataset = sleep_dataset(config)
    recording = dataset.recordings[0]
    eeg, emg = dataset[3].series
    assert (eeg.channel_idx, emg.channel_idx) == (0, 1)
    for series, name in ((eeg, CHANNEL), (emg, "EMG")):
        values = recording.channels[name][3]
        assert np.array_equal(series.values_L, values)
        assert series.text == f"\n{name}, mean {values.mean():.2f} and std {values.std():.2f} uV:"
        (reference,) = measure_references(recording, small_config(stage__channel=name))
        ours, theirs = (normalize_series(values, "whitened", one) for one in (series.reference, reference))
        assert np.array_equal(ours, theirs)
    assert not np.array_equal(ours, normalize_series(values, "whitened", eeg.reference))


def test_the_words_name_the_unit_of_what_is_no_voltage(config: Any) -> None:
    dataset = sleep_dataset(config)
    dataset.recordings[0] = replace(dataset.recordings[0], units={"EMG": "g"})
    assert dataset[0].series[0].text.endswith(" uV:")
    assert dataset[0].series[1].text.endswith(" g:")


def test_a_batch_holds_every_channel_normalised_by_itself(config: Any) -> None:
    dataset = sleep_dataset(config)
    batch = collate(config, [dataset[0], dataset[4]])
    assert batch.window_BWCL.shape == (2, 5, 2, 600)
    assert batch.series_channel_S.tolist() == [0, 1, 0, 1]
    recording, references = dataset.recordings[0], dataset.references[0]
    for channel, name in enumerate((CHANNEL, "EMG")):
        expected = normalize_series(recording.channels[name][4], "whitened", references[channel])
        assert np.allclose(batch.series_SL[2 + channel], expected, atol=1e-5)
        assert np.allclose(batch.window_BWCL[1, 2, channel], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["soft_prompt", "flamingo"])
@torch.no_grad()
def test_series_and_windows_of_two_views_reach_the_language_model(name: str, tiny_llm: Path) -> None:
    config = small_config(tiny_llm, **BOTH, model__name=name, model__normalization="zscore_whitened")
    model, dataset = build_small_model(config, lora_noise=0.1), sleep_dataset(config)
    batch = collate(config, [dataset[0], dataset[4]])
    assert batch.window_BWCL.shape == (2, 5, 2, 2, 600)
    assert not batch.window_BWCL[0, :2].any()  # before the night
    assert batch.series_SL.shape == (4, 2, 600)
    before = model(batch).loss_sum
    for changed in ("series_SL", "window_BWCL"):
        louder = getattr(batch, changed).clone()
        louder[..., 1, :] *= 3  # the whitened view of all
        assert not torch.isclose(model(replace(batch, **{changed: louder})).loss_sum, before, atol=1e-6)


def test_extra_channels_may_be_left_to_the_context(tiny_llm: Path) -> None:
    config = small_config(tiny_llm, **BOTH, stage__extra_in_text=False)
    example = sleep_dataset(config)[2]
    assert [series.channel_idx for series in example.series] == [0]
    batch = collate(config, [example])
    assert batch.series_SL.shape[0] == 1
    assert batch.window_BWCL.shape[2] == 2


def test_a_recording_that_lacks_a_channel_names_it(tmp_path: Path) -> None:
    write_small_cohort(tmp_path)
    config = small_config(stage__extra_channels=("EOG",), stage__task="night", stage__train_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"night1.parquet has no channel 'EOG'; it has: EEG Fpz-Cz, EMG"):
        build_dataset(config, "train")


def test_one_channel_is_lost_and_the_others_stay() -> None:
    off = {"gain_jitter": 0.0, "band_jitter": 0.0}
    config = replace(small_config(**BOTH), augment=AugmentConfig(**off, electrode_loss=0.5))
    nights = [small_recording(num_epochs=40)]
    plain, augmented = NightDataset(nights, config), NightDataset(nights, config, augmented=True)
    torch.manual_seed(0)
    seen = set()
    for idx in range(len(plain)):
        before, after = plain[idx].window.values_WCL, augmented[idx].window.values_WCL
        lost = (before != after).any(axis=(0, 2))
        for channel in range(2):
            is_flat = (after[:, channel] == 0) | (before[:, channel] == after[:, channel])
            assert bool(is_flat.all())
        seen.add(tuple(lost.tolist()))
    assert {(True, False), (False, True)} <= seen


def test_an_electrode_is_lost_by_its_own_probability() -> None:
    off = {"gain_jitter": 0.0, "band_jitter": 0.0}
    config = replace(small_config(**BOTH), augment=AugmentConfig(**off, electrode_loss_of={"EMG": 0.5}))
    nights = [small_recording(num_epochs=400)]
    plain, augmented = NightDataset(nights, config), NightDataset(nights, config, augmented=True)
    torch.manual_seed(0)
    lost_NC = np.array(
        [
            (plain[idx].window.values_WCL != augmented[idx].window.values_WCL).any(axis=(0, 2))
            for idx in range(len(plain))
        ]
    )
    assert not lost_NC[:, 0].any()
    assert 0.4 < lost_NC[:, 1].mean() < 0.6
    wrong = replace(config, augment=AugmentConfig(electrode_loss_of={"EOG": 0.5}))
    with pytest.raises(ValueError, match="names 'EOG'; the model reads: EEG Fpz-Cz, EMG"):
        NightDataset(nights, wrong, augmented=True)
    with pytest.raises(ValueError, match="wanted probabilities"):
        AugmentConfig(electrode_loss_of={"EMG": 1.5})


def test_in_training_a_channel_that_may_lack_is_left_out_at_its_rate_and_the_eeg_never() -> None:
    config = small_config(**BOTH, model__channel_dropout=0.3, model__name="classifier")
    windows = NightDataset([small_recording(num_epochs=400)], config, augmented=True)
    torch.manual_seed(0)
    drawn = [windows[idx].window for idx in range(len(windows))]
    lacks_CN = np.array([[reference is None for reference in window.references] for window in drawn]).T
    assert not lacks_CN[0].any()
    assert 0.2 < lacks_CN[1].mean() < 0.4
    is_zero_CN = np.array([(window.values_WCL == 0).all(axis=(0, 2)) for window in drawn]).T
    assert np.array_equal(is_zero_CN, lacks_CN)
    batch = collate(config, [windows[idx] for idx in range(8)])
    assert batch.channel_mask_BC[:, 0].all()
    plain = NightDataset([small_recording(num_epochs=40)], config)
    assert all(None not in plain[idx].window.references for idx in range(len(plain)))


def test_a_night_without_a_channel_that_may_lack_is_answered_and_reads_no_series_of_it(tiny_llm: Path) -> None:
    config = small_config(tiny_llm, **BOTH, model__channel_dropout=0.3, stage__extra_in_text=False)
    night = small_recording()
    lacking = replace(night, channels={CHANNEL: night.channels[CHANNEL]})
    batch = collate(config, [SleepDataset([lacking], config)[3]])
    assert batch.channel_mask_BC.tolist() == [[True, False]]
    model = build_small_model(config)
    assert torch.isfinite(model(batch).loss_sum)
    for needs in ({"stage__extra_in_text": True}, {"model__channel_dropout": 0.0}):
        with pytest.raises(ValueError, match="night1 has no channel 'EMG', which the model needs; it has: EEG Fpz-Cz"):
            SleepDataset([lacking], small_config(tiny_llm, **{**BOTH, "model__channel_dropout": 0.3, **needs}))


def ecg_beside_its_envelope(lengths: tuple[int, ...], names: tuple[str, ...]) -> Any:
    rng = np.random.default_rng(0)
    series = tuple(rng.normal(0, 1, length).astype(np.float32) for length in lengths)
    sample = replace(small_sample(0, "ecg", len(lengths)), series=series, series_names=names)
    return CorpusDataset([sample], lambda one: render_ecg_prompt(one.question, one.options))[0]


@pytest.mark.parametrize("merge", [1, 2])
@torch.no_grad()
def test_series_of_different_rates_stand_in_one_sample_and_say_so(merge: int, tiny_llm: Path) -> None:
    config = small_config(tiny_llm, model__projector__merge=merge)
    lengths, names = (1500, 1500, 300, 30), ("Lead I, 500 Hz", "Lead II, 500 Hz", "Chest, 100 Hz", "Envelope, 1 Hz")
    example = ecg_beside_its_envelope(lengths, names)
    assert [series.text.split(", mean")[0] for series in example.series] == [f"\n{name}" for name in names]
    model = build_small_model(config)
    batch = collate(config, [example])
    counts = [config.model.count_series_tokens(length) for length in lengths]
    assert int((batch.slot_BT == SERIES_SLOT).sum()) == sum(counts)
    tokens = model.fuse(batch).embeds_BTE[batch.slot_BT == SERIES_SLOT]
    for series, own in zip(example.series, tokens.split(counts), strict=True):
        alone = torch.from_numpy(normalize_series(series.values_L, "whitened", series.reference))[None]
        expected = model.fusion.projector(model.reader.encoder(alone))[0]
        assert torch.allclose(own, expected, atol=1e-5)


@pytest.mark.parametrize("lengths", [(1700, 30), (30, 1700)])
def test_the_longest_series_of_a_sample_must_fit_the_position_table(lengths: tuple[int, int], tiny_llm: Path) -> None:
    example = ecg_beside_its_envelope(lengths, ("A", "B"))
    with pytest.raises(ValueError, match=r"17 patches exceeds .* 16 positions; raise model.encoder.max_patches"):
        collate(small_config(tiny_llm), [example])


def test_epochs_of_a_window_must_fit_the_position_table_too() -> None:
    config = small_config(model__name="classifier", model__encoder__max_patches=5)
    model = build_small_model(config)
    batch = Collator(config.model, None)([NightDataset([small_recording()], config)[0]])
    with pytest.raises(ValueError, match=r"6 patches exceeds .* 5 positions; raise model.encoder.max_patches"):
        model(batch)
