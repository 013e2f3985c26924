import numpy as np
import pytest

from data_prep.simulators.ecg import FS_HZ, draw_rhythm, simulate_ecg
from tslm.evidence.ecg import find_r_peaks, measure_ecg
from tslm.evidence.series import UnmeasurableError


def _records(num_records: int):
    rng = np.random.default_rng(0)
    for _ in range(num_records):
        rhythm = draw_rhythm(rng)
        yield rhythm, simulate_ecg(rhythm, ("II", "V1"), rng)


def test_r_peaks_are_where_the_simulator_put_the_beats():
    num_beats = num_missed = num_extra = 0
    for rhythm, ecg in _records(60):
        found_s = find_r_peaks(ecg, FS_HZ) / FS_HZ
        true_s = rhythm.r_times_s[(rhythm.r_times_s > 0.15) & (rhythm.r_times_s < 9.85)]
        distance_s = np.abs(true_s[:, None] - found_s)
        num_beats += len(true_s)
        num_missed += int((distance_s.min(axis=1) > 0.05).sum())
        inside = (found_s > 0.2) & (found_s < 9.8)
        num_extra += int((distance_s.min(axis=0) > 0.05)[inside].sum())
    assert num_beats > 500
    assert num_missed + num_extra <= 0.01 * num_beats


def test_r_peaks_agree_with_neurokit():
    neurokit2 = pytest.importorskip("neurokit2", reason="the extra `ecg` is not installed")
    num_beats = num_apart = 0
    for _, ecg in _records(10):
        found = find_r_peaks(ecg, FS_HZ)
        reference = neurokit2.ecg_peaks(ecg[0], sampling_rate=int(FS_HZ))[1]["ECG_R_Peaks"]
        num_beats += len(reference)
        num_apart += int((np.abs(np.asarray(reference)[:, None] - found).min(axis=1) > 5).sum())
    assert num_apart <= 0.05 * num_beats


def test_facts_of_even_beats_are_theirs():
    time_s = np.arange(1000) / FS_HZ
    beats_s = np.arange(0.5, 10, 0.75)
    lead = np.exp(-0.5 * ((time_s[:, None] - beats_s) / 0.012) ** 2).sum(axis=1)
    facts = measure_ecg(np.stack([lead, 0.5 * lead]), FS_HZ)
    assert facts.num_beats == len(beats_s)
    assert facts.rate_bpm == pytest.approx(80, rel=0.01)
    assert facts.rr_variation < 0.01
    assert facts.num_early_beats == 0
    assert facts.r_heights == pytest.approx([1.0, 0.5], abs=0.1)


@pytest.mark.parametrize(
    ("ecg", "fs_hz", "reason"),
    [
        (np.zeros((1, 1000)), FS_HZ, "the record is flat"),
        (np.full((2, 1000), 0.7), FS_HZ, "the record is flat"),
        (np.eye(1, 120, 30) + np.eye(1, 120, 90), FS_HZ, "2 beats found, 3 are needed"),
        (np.eye(1, 50, 20), FS_HZ, "0.5 s long, 1 s is needed"),
        (np.full((1, 1000), np.nan), FS_HZ, "NaN or infinite"),
        (np.eye(1, 1000, 500), 10.0, "10 samples a second, 25 are needed"),
    ],
)
def test_a_record_that_holds_no_rhythm_is_refused_with_the_reason(ecg, fs_hz, reason):
    with pytest.raises(UnmeasurableError, match=reason):
        measure_ecg(ecg, fs_hz)


@pytest.mark.parametrize(
    ("ecg", "fs_hz", "message"), [(np.zeros(1000), FS_HZ, "shape"), (np.eye(1, 1000, 500), 0.0, "fs_hz=0")]
)
def test_a_wrong_shape_or_an_unknown_rate_is_an_error_of_the_caller(ecg, fs_hz, message):
    with pytest.raises(ValueError, match=message) as caught:
        measure_ecg(ecg, fs_hz)
    assert not isinstance(caught.value, UnmeasurableError)
