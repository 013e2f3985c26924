import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tslm.report.night.waveforms import pack_waveforms, unpack_waveforms

RNG = np.random.default_rng(0)
NIGHT = {"EEG": RNG.normal(0, 30, (60, 3000)), "EMG": RNG.normal(0, 5, (60, 3000))}
EVERY = [True] * 60


@given(arrays(np.float32, (3, 50), elements=st.floats(-500, 500, width=32)))
def test_a_sample_comes_back_within_half_a_step_of_its_epoch(epochs_EL):
    (packed,), _ = pack_waveforms({"EEG": epochs_EL}, 50.0, 1_000_000, [True] * 3)
    step_E = np.ptp(epochs_EL, axis=1) / (2**packed.bits - 1)
    gap_EL = np.abs(unpack_waveforms(packed) - epochs_EL)
    assert (gap_EL.max(axis=1) <= step_E / 2 + 1e-3).all()


@pytest.mark.parametrize("max_bytes", [600_000, 300_000, 200_000])
def test_packed_waveforms_keep_to_their_budget(max_bytes):
    packed, kept = pack_waveforms(NIGHT, 100.0, max_bytes, EVERY)
    assert kept.all()
    assert sum(len(channel.blob) for channel in packed) * 4 / 3 <= max_bytes
    assert packed[0].bits >= packed[1].bits
    assert packed[0].fs_hz >= packed[1].fs_hz
    for channel in packed:
        assert channel.num_samples == 30 * channel.fs_hz
        assert unpack_waveforms(channel).shape == (60, channel.num_samples)


def test_a_slower_picture_is_the_signal_low_pass_filtered():
    seconds = np.arange(60 * 3000) / 100
    slow = np.sin(2 * np.pi * 2 * seconds).reshape(60, 3000)
    noisy = slow + np.random.default_rng(1).normal(0, 0.05, slow.shape)
    (packed,), _ = pack_waveforms({"EEG": noisy}, 100.0, 55_000, EVERY)
    assert packed.fs_hz == 50.0
    drawn_ED = unpack_waveforms(packed)
    assert np.abs(drawn_ED - slow[:, ::2])[:, 50:-50].max() < 0.3


def test_of_a_night_too_long_only_doubted_epochs_are_kept_and_at_last_none():
    doubted = [idx % 6 == 0 for idx in range(60)]
    packed, kept = pack_waveforms(NIGHT, 100.0, 30_000, doubted)
    assert kept.tolist() == doubted
    assert [len(unpack_waveforms(channel)) for channel in packed] == [10, 10]
    for max_bytes, in_doubt in ((1000, doubted), (30_000, [False] * 60)):
        packed, kept = pack_waveforms(NIGHT, 100.0, max_bytes, in_doubt)
        assert packed == []
        assert not kept.any()
