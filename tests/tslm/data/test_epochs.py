"""A night gives a model the same inputs by every door: prepared and read back, straight from its file, as arrays."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_prep.prepare import main
from tests.factories.recordings import make_noise, write_night, write_table
from tests.factories.small import collate, small_config
from tslm.data.cohorts.nights import read_single_night
from tslm.data.epochs import cut_epochs, resample_recording
from tslm.data.prepared.recordings import Recording, read_recording, round_to_stored
from tslm.data.readers.open import open_signals
from tslm.data.readers.raw import RawRecording, RawSignal, SignalsConfig
from tslm.data.samples.recordings_dataset import SleepDataset
from tslm.data.samples.references import measure_references
from tslm.evidence.measure import measure_evidence
from tslm.hub import TSLMProcessor
from tslm.labels import SleepStage
from tslm.models import build_tokenizer
from tslm.signals.filters import resample_polyphase
from tslm.signals.normalize import normalize_channels

EEG, EMG = "EEG C4-M1", "EMG chin"
FS_HZ, EPOCH_S, NUM_EPOCHS = 100.0, 30.0, 12
LEFT_OUT = 4
COHORT = f"""
fs_hz: {FS_HZ}
signals: {{files: ["night.csv", "night.edf"], fs_hz: 128}}
hypnogram: {{files: scores.txt}}
channels: {{"{EEG}": "{EEG}", "{EMG}": "{EMG}"}}
labels: {{N2: N2}}
"""


def write_table_with_gaps(folder: Path) -> Path:
    """Both channels at 128 Hz: an epoch that is left out, gaps that are interpolated, and an epoch that never ends."""
    signals = {name: make_noise(NUM_EPOCHS * EPOCH_S + 6, 128.0, seed) for seed, name in enumerate((EEG, EMG))}
    for name, start_s, stop_s in ((EEG, 121, 125), (EEG, 190, 191), (EMG, 269.5, 270.2)):
        signals[name].values[round(start_s * 128) : round(stop_s * 128)] = np.nan
    return write_table(folder / "night.csv", signals)


def write_edf_of_two_rates(folder: Path) -> Path:
    """The EEG at 256 Hz, the EMG as an envelope of 1 Hz."""
    tone_uv = RawSignal(np.abs(make_noise(NUM_EPOCHS * EPOCH_S, 1.0, 1).values), 1.0)
    return write_night(folder / "night.edf", {EEG: make_noise(NUM_EPOCHS * EPOCH_S, 256.0), EMG: tone_uv})


def build_config(tiny_llm: Path, **changes: Any) -> Any:
    return small_config(
        tiny_llm,
        model__fs_hz=FS_HZ,
        model__epoch_s=EPOCH_S,
        model__normalization="whitened",
        model__encoder__max_patches=1024,
        stage__channel=EEG,
        stage__extra_channels=(EMG,),
        stage__extra_in_text=True,
        **changes,
    )


def prepare_and_read(path: Path) -> Recording:
    (path.parent / "scores.txt").write_text("N2\n" * NUM_EPOCHS)
    (path.parent / "cohort.yaml").write_text(COHORT)
    arguments = [str(path.parent / "cohort.yaml"), "--out", str(path.parent / "out"), f"raw_dir={path.parent}"]
    assert main([*arguments, "split=test"]) == 0
    return read_recording(path.parent / "out" / "night.parquet")


def read_arrays(path: Path) -> dict[str, dict[str, Any]]:
    """What the processor of the hub is given."""
    file = open_signals(path, SignalsConfig(fs_hz=128.0))
    names = [channel.name for channel in file.channels]
    return {
        "signals": {name: file.read_values(idx) for idx, name in enumerate(names)},
        "fs_hz": {channel.name: channel.fs_hz for channel in file.channels},
    }


@pytest.mark.parametrize("write", [write_table_with_gaps, write_edf_of_two_rates])
def test_a_model_gets_equal_inputs_by_every_door(write: Any, tmp_path: Path, tiny_llm: Path) -> None:
    path, config = write(tmp_path), build_config(tiny_llm)
    prepared = prepare_and_read(path)
    file = open_signals(path, SignalsConfig(fs_hz=128.0))
    single = read_single_night(file, {EEG: EEG, EMG: EMG}, FS_HZ, EPOCH_S, "human").recording
    processor = TSLMProcessor(config, build_tokenizer(config))
    arrays = read_arrays(path)
    direct = processor.cut_night(**arrays)
    num_left_out = 1 if write is write_table_with_gaps else 0
    assert prepared.num_epochs == NUM_EPOCHS - num_left_out
    for night in (single, direct):
        assert night.onset_s.tolist() == prepared.onset_s.tolist()
        assert night.notes == tuple(note for note in prepared.notes if not note.startswith("hypnogram"))
        for name in (EEG, EMG):
            assert np.array_equal(night.channels[name], prepared.channels[name])
        for name, flags in night.columns.items():
            assert np.array_equal(flags, prepared.columns[name])
    for night in (prepared, single, direct):
        for name, values in measure_evidence(night.channels[EEG], night.fs_hz).items():
            assert np.array_equal(values, prepared.columns[name])
    batches = []
    for night in (prepared, single):
        dataset = SleepDataset([night], config)
        examples = [dataset.build_example(0, epoch) for epoch in range(night.num_epochs)]
        batches.append(vars(collate(config, examples, with_response=False)))
    batches.append(processor(**arrays))
    for name in ("series_SL", "window_BWCL", "epoch_mask_BW"):
        assert torch.equal(batches[0][name], batches[1][name])
        assert torch.equal(batches[0][name], batches[2][name])


def test_a_classifier_reads_each_stretch_without_a_gap_as_one_row(tmp_path: Path, tiny_llm: Path) -> None:
    path = write_table_with_gaps(tmp_path)
    config = build_config(tiny_llm, model__name="classifier", stage__task="night")
    inputs = TSLMProcessor(config, None)(**read_arrays(path))
    assert inputs["epoch_mask_BW"].sum(dim=1).tolist() == [LEFT_OUT, NUM_EPOCHS - LEFT_OUT - 1]
    night = prepare_and_read(path)
    values_ECL = np.stack([night.channels[name] for name in (EEG, EMG)], axis=1)
    expected_ECL = normalize_channels(values_ECL, "whitened", measure_references(night, config))
    assert np.array_equal(inputs["window_BWCL"][inputs["epoch_mask_BW"]].numpy(), expected_ECL)


def make_raw(**signals: RawSignal) -> RawRecording:
    return RawRecording("n", "s", signals, (), EPOCH_S)


def test_an_epoch_is_left_out_when_more_than_a_tenth_of_it_is_missing() -> None:
    noise = make_noise(4 * EPOCH_S, FS_HZ)
    noise.values[3000:3300] = noise.values[6000:6301] = np.nan
    night = cut_epochs(make_raw(EEG=noise))
    assert night.onset_s.tolist() == [0.0, 30.0, 90.0]
    assert night.sleep_stages == (SleepStage.UNSCORED,) * 3
    assert night.columns["missing_flag"].tolist() == [False, True, False]
    assert night.notes == (
        "1 epochs left out: more than 10% of their samples are missing",
        "EEG: 300 missing samples in 1 epochs interpolated",
    )
    noise.values[::2] = np.nan
    with pytest.raises(ValueError, match="n: more than 10% of every epoch is missing"):
        cut_epochs(make_raw(EEG=noise))


def test_a_span_is_counted_from_the_start_of_the_recording() -> None:
    raw = replace(make_raw(EEG=make_noise(5 * EPOCH_S, FS_HZ)), sleep_stages=tuple(SleepStage)[:4])
    night = cut_epochs(raw, span=range(1, 3))
    assert night.onset_s.tolist() == [30.0, 60.0]
    assert night.sleep_stages == tuple(SleepStage)[1:3]
    assert cut_epochs(raw).num_epochs == 4


def test_samples_are_rounded_to_the_stored_steps() -> None:
    raw = make_raw(EEG=make_noise(2 * EPOCH_S, FS_HZ))
    exact, rounded = raw.signals["EEG"].values, cut_epochs(raw).channels["EEG"].ravel()
    step_uv = np.abs(exact).max() / 32767
    np.testing.assert_allclose(rounded / step_uv, np.rint(exact / step_uv), atol=1e-2)
    assert 0 < np.abs(rounded - exact).max() < step_uv


@given(largest_uv=st.floats(1e-3, 1e5), seed=st.integers(0, 100))
def test_samples_rounded_twice_are_those_rounded_once(largest_uv: float, seed: int) -> None:
    values = largest_uv * np.random.default_rng(seed).uniform(-1, 1, round(EPOCH_S * FS_HZ))
    once = cut_epochs(make_raw(EEG=RawSignal(values.astype(np.float32), FS_HZ)))
    assert np.array_equal(round_to_stored(once).channels["EEG"], once.channels["EEG"])


@pytest.mark.parametrize("channel", [EEG, EMG])
@pytest.mark.parametrize("value", [np.inf, -np.inf, 9.97e36, -3.4e38, 1e22, 2e6])
@pytest.mark.parametrize("fs_hz", [FS_HZ, 64.0])
def test_a_value_that_cannot_be_is_missing_and_said_and_changes_nothing_else(
    channel: str, value: float, fs_hz: float
) -> None:
    signals = {name: make_noise(4 * EPOCH_S, FS_HZ, seed) for seed, name in enumerate((EEG, EMG))}
    clean = cut_epochs(make_raw(**signals), fs_hz)
    signals[channel].values[3500] = value
    night = cut_epochs(make_raw(**signals), fs_hz)
    assert f"{channel}: 1 samples beyond 1 V taken for missing" in night.notes
    assert not any(flags_E.any() for flags_E in night.columns.values())
    assert all(np.isfinite(epochs_EL).all() for epochs_EL in night.channels.values())
    for name, epochs_EL in night.channels.items():
        np.testing.assert_allclose(epochs_EL[[0, 2, 3]], clean.channels[name][[0, 2, 3]], atol=0.01)


@pytest.mark.parametrize("value_uv", [2e4, 1e5, -9e5])
def test_an_outlier_is_clipped_and_flags_its_own_epoch_alone(value_uv: float) -> None:
    noise = make_noise(20 * EPOCH_S, FS_HZ)
    expected = noise.values.copy()
    noise.values[3500] = value_uv
    night = cut_epochs(make_raw(EEG=noise))
    assert {kind: flags_E.nonzero()[0].tolist() for kind, flags_E in night.columns.items() if flags_E.any()} == {
        "saturation_flag": [1]
    }
    assert "EEG: 1 samples beyond 16.4 mV in 1 epochs clipped" in night.notes
    others = np.arange(len(expected)) != 3500
    assert np.abs(night.channels["EEG"].ravel() - expected)[others].max() <= 0.2501


def test_a_channel_far_beside_zero_is_moved_there_before_it_is_clipped() -> None:
    noise = make_noise(4 * EPOCH_S, FS_HZ)
    shifted = replace(noise, values=noise.values + np.float32(40_000))
    night = cut_epochs(make_raw(EEG=shifted))
    assert "EEG: offset of 40 mV taken away" in night.notes
    assert np.abs(night.channels["EEG"].ravel() - noise.values).max() < 2
    assert not night.columns["saturation_flag"].any()


def test_a_channel_without_one_possible_value_is_refused_with_the_reason() -> None:
    noise = make_noise(4 * EPOCH_S, FS_HZ)
    noise.values[:] = 5e7
    with pytest.raises(ValueError, match=r"every epoch is missing \(EEG: 12000 samples beyond 1 V"):
        cut_epochs(make_raw(EEG=noise))


@pytest.mark.parametrize("value", ["9.97e36", "1e300", "inf", "5e6"])
def test_a_fill_value_in_a_table_is_missing_by_every_door(tmp_path: Path, value: str) -> None:
    signals = {name: make_noise(4 * EPOCH_S, 128.0, seed) for seed, name in enumerate((EEG, EMG))}
    lines = write_table(tmp_path / "night.csv", signals).read_text().splitlines()
    lines[5001] = f"{value},{value}"
    (tmp_path / "night.csv").write_text("\n".join(lines))
    file = open_signals(tmp_path / "night.csv", SignalsConfig(fs_hz=128.0))
    night = read_single_night(file, {EEG: EEG, EMG: EMG}, FS_HZ, EPOCH_S, "human").recording
    assert sum(note.endswith("taken for missing") for note in night.notes) == 2
    assert max(np.abs(epochs_EL).max() for epochs_EL in night.channels.values()) < 300


def test_all_channels_come_to_one_rate_and_changed_rates_are_noted() -> None:
    fast, slow = make_noise(50, 256.0), make_noise(50, 64.0)
    raw = resample_recording(make_raw(EEG=fast, EOG=slow, EMG=make_noise(50, 1.0)), 100.0)
    assert {(signal.fs_hz, len(signal.values)) for signal in raw.signals.values()} == {(100.0, 5000)}
    assert np.array_equal(raw.signals["EEG"].values, resample_polyphase(fast.values, 256, 100))
    assert raw.notes == ("EEG: resampled from 256 Hz to 100 Hz", "EOG: resampled from 64 Hz to 100 Hz")
    again = resample_recording(raw)
    assert again.notes == raw.notes
    assert all(again.signals[name] is raw.signals[name] for name in raw.signals)


def test_gaps_stay_gaps_when_the_rate_changes_and_their_surroundings_stay_clean() -> None:
    whole = make_noise(50, 256.0)
    gappy = replace(whole, values=whole.values.copy())
    gappy.values[2560:5120] = np.nan  # 10 s to 20 s
    resampled = resample_recording(make_raw(EEG=gappy), 100.0).signals["EEG"].values
    expected = (np.arange(5000) >= 1000) & (np.arange(5000) < 2000)
    assert np.count_nonzero(np.isnan(resampled) != expected) <= 2
    np.testing.assert_allclose(resampled[:900], resample_polyphase(whole.values, 256, 100)[:900], atol=0.1)
