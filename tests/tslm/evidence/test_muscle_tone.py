import numpy as np
import pytest

from tslm.batch import Reference
from tslm.evidence.muscle import carry_tone, measure_tone_scale
from tslm.signals.normalize import normalize_series

FS_HZ = 100.0


def draw_emg(seed: int = 0, num_epochs: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Noise above 12 Hz whose size wanders from second to second, and that size: (E, 3000), (E, 30)."""
    rng = np.random.default_rng(seed)
    level_ES = np.exp(np.cumsum(0.1 * rng.standard_normal(num_epochs * 30))).reshape(num_epochs, 30)
    spectrum = np.fft.rfft(rng.standard_normal(num_epochs * 3000))
    spectrum[np.fft.rfftfreq(num_epochs * 3000, 1 / FS_HZ) < 12] = 0
    noise = np.fft.irfft(spectrum)
    return (noise / noise.std()).reshape(num_epochs, 3000) * np.repeat(level_ES, 100, axis=1), level_ES


def store_envelope(level_ES: np.ndarray) -> np.ndarray:
    """The levels as a channel of 1 Hz that was resampled to 100 Hz: (E, 3000)."""
    times_s = np.arange(level_ES.size * 100) / 100
    return np.interp(times_s, np.arange(level_ES.size) + 0.5, level_ES.ravel()).reshape(len(level_ES), -1)


def read_log_amplitude(carried_EL: np.ndarray) -> np.ndarray:
    """(E, S) ln RMS of each second."""
    return 0.5 * np.log(np.mean(carried_EL.reshape(len(carried_EL), -1, 100) ** 2, axis=2))


def carry(epochs_EL: np.ndarray) -> np.ndarray:
    return carry_tone(epochs_EL, measure_tone_scale(epochs_EL, FS_HZ))


def test_a_raw_emg_and_its_stored_envelope_are_read_alike() -> None:
    emg_EL, level_ES = draw_emg()
    envelope_EL = store_envelope(level_ES)
    assert not measure_tone_scale(emg_EL, FS_HZ).is_envelope
    assert measure_tone_scale(envelope_EL, FS_HZ).is_envelope
    both = [read_log_amplitude(carry(epochs_EL)).ravel() for epochs_EL in (emg_EL, envelope_EL)]
    assert np.corrcoef(*both)[0, 1] > 0.98
    assert np.abs(both[0] - both[1]).mean() < 0.1


def test_every_night_uses_the_whole_range_evenly() -> None:
    amplitude = np.sort(read_log_amplitude(carry(draw_emg()[0])).ravel())
    assert np.allclose(amplitude, np.linspace(-1.5, 1.5, amplitude.size), atol=0.1)


@pytest.mark.parametrize("change", [lambda x: 9 * x, lambda x: x + 300, lambda x: x * np.float32(0.01)])
def test_gain_and_offset_change_nothing(change) -> None:
    emg_EL, _ = draw_emg()
    assert np.allclose(carry(change(emg_EL)), carry(emg_EL), atol=0.2)


def test_an_envelope_cut_off_at_the_top_keeps_the_order_below() -> None:
    envelope_EL = store_envelope(draw_emg()[1])
    ceiling = np.quantile(envelope_EL, 0.7)
    whole, cut = (read_log_amplitude(carry(epochs)) for epochs in (envelope_EL, np.minimum(envelope_EL, ceiling)))
    below = envelope_EL[:, ::100] < 0.9 * ceiling
    assert np.allclose(whole[below], cut[below], atol=0.1)
    assert cut.max() < whole.max() - 0.2


def test_an_epoch_reads_the_same_alone_and_in_its_night() -> None:
    emg_EL, _ = draw_emg()
    scale = measure_tone_scale(emg_EL, FS_HZ)
    assert np.allclose(carry_tone(emg_EL, scale)[7], carry_tone(emg_EL[7], scale), atol=1e-6)


def test_a_dead_electrode_stays_finite() -> None:
    flat_EL = np.zeros((5, 3000), dtype=np.float32)
    assert np.isfinite(carry(flat_EL)).all()


def test_an_emg_keeps_its_tone_under_every_normalisation() -> None:
    emg_EL, _ = draw_emg()
    reference = Reference(tone=measure_tone_scale(emg_EL, FS_HZ))
    by_zscore, by_spectrum = (normalize_series(emg_EL, kind, reference) for kind in ("zscore", "whitened"))
    assert np.array_equal(by_zscore, by_spectrum)
    assert by_zscore.std(axis=1).max() > 3 * by_zscore.std(axis=1).min()
