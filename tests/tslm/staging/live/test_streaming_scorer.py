from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

import tslm
from tests.factories.small import CHANNEL
from tests.factories.staging import EMG, make_live_signals, save_causal
from tests.factories.staging import LIVE_EPOCH_S as EPOCH_S
from tests.factories.staging import LIVE_EPOCHS as NUM_EPOCHS
from tests.factories.staging import LIVE_FS_HZ as FS_HZ
from tslm.data.epochs import cut_epochs
from tslm.data.prepared.recordings import Recording
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.labels import SleepStage
from tslm.predictions.stager import open_stager
from tslm.staging.live.scorer import LiveEpoch, StreamingScorer


def cut_chunks(stream: Mapping[str, np.ndarray], seed: int, longest: int) -> Iterator[dict[str, np.ndarray]]:
    rng, start, length = np.random.default_rng(seed), 0, len(next(iter(stream.values())))
    while start < length:
        stop = start + int(rng.integers(0, longest + 1))
        yield {name: values[start:stop] for name, values in stream.items()}
        start = stop


def feed_all(scorer: StreamingScorer, stream: Mapping[str, np.ndarray], seed: int, longest: int) -> list[LiveEpoch]:
    return [epoch for chunk in cut_chunks(stream, seed, longest) for epoch in scorer.feed(chunk)]


def hold_epochs(stream: Mapping[str, np.ndarray]) -> Recording:
    size = round(FS_HZ * EPOCH_S)
    channels = {name: values[: NUM_EPOCHS * size].reshape(NUM_EPOCHS, size) for name, values in stream.items()}
    onset_s = EPOCH_S * np.arange(NUM_EPOCHS)
    return Recording("n", "s", FS_HZ, EPOCH_S, channels, (SleepStage.UNSCORED,) * NUM_EPOCHS, onset_s)


@pytest.mark.parametrize("kind", ["bigru", "bilstm", "conv", "ssm", "none"])
def test_a_stream_is_staged_as_the_whole_recording_whatever_its_chunks(kind: str, tmp_path: Path) -> None:
    folder = save_causal(tmp_path / "best", kind, model__context__num_layers=2)
    stream = make_live_signals()
    expected_EK = open_stager(folder).score(hold_epochs(stream))
    for seed, longest in enumerate((1, 400, 10**6)[kind != "bigru" :]):
        epochs = feed_all(StreamingScorer(folder, FS_HZ), stream, seed, longest)
        assert [epoch.epoch_idx for epoch in epochs] == list(range(NUM_EPOCHS))
        found_EK = np.stack([epoch.probabilities for epoch in epochs])
        np.testing.assert_allclose(found_EK, expected_EK, atol=1e-5)
        assert [epoch.sleep_stage for epoch in epochs] == [
            StreamingScorer(folder, FS_HZ).label_set.sleep_stages[idx] for idx in expected_EK.argmax(axis=1)
        ]


def test_an_epoch_is_staged_with_its_last_sample_and_not_before(tmp_path: Path) -> None:
    scorer = tslm.StreamingScorer(save_causal(tmp_path / "best"), FS_HZ)
    stream, size = make_live_signals(), round(FS_HZ * EPOCH_S)
    assert scorer.delay_s == 0
    assert scorer.feed({name: values[: size - 1] for name, values in stream.items()}) == []
    (epoch,) = scorer.feed({name: values[size - 1 : size] for name, values in stream.items()})
    assert (epoch.epoch_idx, epoch.onset_s) == (0, 0.0)


@pytest.mark.parametrize("fs_hz", [128.0, 100.0, 62.5])
def test_a_stream_of_another_rate_is_resampled_as_a_file_is(fs_hz: float, tmp_path: Path) -> None:
    folder = save_causal(tmp_path / "best")
    stream = make_live_signals(fs_hz)
    signals = {name: RawSignal(values, fs_hz) for name, values in stream.items()}
    expected_EK = open_stager(folder).score(cut_epochs(RawRecording("n", "s", signals, (), EPOCH_S), FS_HZ))
    runs = [feed_all(StreamingScorer(folder, fs_hz), stream, seed, 10 ** (seed + 2)) for seed in range(3)]
    for epochs in runs:
        assert 0 < StreamingScorer(folder, fs_hz).delay_s < 2
        found_EK = np.stack([epoch.probabilities for epoch in epochs])
        assert np.array_equal(found_EK, np.stack([epoch.probabilities for epoch in runs[0]]))
        np.testing.assert_allclose(found_EK, expected_EK, atol=1e-3)  # a file's samples are rounded to its steps


def test_a_slow_envelope_beside_the_eeg_is_interpolated(tmp_path: Path) -> None:
    folder = save_causal(tmp_path / "best")
    stream = make_live_signals()
    slow = 3 + np.abs(np.random.default_rng(1).normal(0, 1, round(EPOCH_S * NUM_EPOCHS) + 2))
    rates_hz = {CHANNEL: FS_HZ, EMG: 1.0}
    runs = []
    for num_chunks in (1, 5):
        scorer = StreamingScorer(folder, rates_hz)
        parts = zip(np.array_split(stream[CHANNEL], num_chunks), np.array_split(slow, num_chunks), strict=True)
        runs.append([each for eeg, emg in parts for each in scorer.feed({CHANNEL: eeg, EMG: emg})])
    assert len(runs[0]) == NUM_EPOCHS
    for one, other in zip(*runs, strict=True):
        assert np.array_equal(one.probabilities, other.probabilities)


def test_a_gap_is_unscored_and_the_context_begins_anew_behind_it(tmp_path: Path) -> None:
    folder = save_causal(tmp_path / "best")
    stream, size = make_live_signals(), round(FS_HZ * EPOCH_S)
    stream[CHANNEL][4 * size : 5 * size - 10] = np.nan
    recording = cut_epochs(
        RawRecording("n", "s", {name: RawSignal(values, FS_HZ) for name, values in stream.items()}, (), EPOCH_S)
    )
    epochs = feed_all(StreamingScorer(folder, FS_HZ), stream, 0, 1000)
    assert epochs[4].sleep_stage is SleepStage.UNSCORED and epochs[4].probabilities is None
    found_EK = np.stack([epoch.probabilities for epoch in epochs if epoch.probabilities is not None])
    np.testing.assert_allclose(found_EK, open_stager(folder).score(recording), atol=1e-3)


def test_what_cannot_be_streamed_is_refused(tmp_path: Path) -> None:
    folder = save_causal(tmp_path / "best")
    with pytest.raises(ValueError, match="looks at later epochs"):
        StreamingScorer(save_causal(tmp_path / "both_ways", causal=False), FS_HZ)
    with pytest.raises(ValueError, match="needs a channel for 'EMG submental'"):
        StreamingScorer(folder, FS_HZ, {CHANNEL: "F4"})
    with pytest.raises(ValueError, match="fs_hz=0; wanted a positive"):
        StreamingScorer(folder, 0.0)
    scorer, stream = StreamingScorer(folder, FS_HZ), make_live_signals()
    with pytest.raises(ValueError, match="changed its rate from 50 to 100 Hz"):
        scorer.feed(stream, fs_hz=100.0)
    with pytest.raises(ValueError, match="holds no channel 'EMG submental'"):
        scorer.feed({CHANNEL: stream[CHANNEL]})
    with pytest.raises(ValueError, match="infinite"):
        scorer.feed({name: np.full(3, np.inf) for name in stream})
    assert len(scorer.feed(stream, fs_hz=FS_HZ)) == NUM_EPOCHS


def test_a_scorer_that_reads_more_than_the_signal_is_refused(tmp_path: Path) -> None:
    folder = save_causal(tmp_path, kind="none", causal=False, model__inputs=("clock",))
    with pytest.raises(ValueError, match="reads clock beside the signal, measured on a whole recording"):
        StreamingScorer(folder, FS_HZ)
