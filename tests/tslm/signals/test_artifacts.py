import numpy as np
import pytest

from tslm.evidence.measure import measure_evidence
from tslm.signals.artifacts import ARTIFACT_KINDS, flag_artifacts


def clean_night(num_epochs: int = 40, fs_hz: float = 100.0, epoch_s: float = 30.0, seed: int = 0) -> np.ndarray:
    """Noise of power 1/f^2 with 25 uV RMS, louder and quieter epochs in turn."""
    rng = np.random.default_rng(seed)
    num_samples = round(epoch_s * fs_hz)
    gain = 1 / np.maximum(np.fft.rfftfreq(num_samples, 1 / fs_hz), 0.5)
    spectrum = gain * (rng.normal(size=(num_epochs, gain.size)) + 1j * rng.normal(size=(num_epochs, gain.size)))
    epochs_EL = np.fft.irfft(spectrum, num_samples)
    loudness_E = 1 + 0.5 * (np.arange(num_epochs) % 3 == 0)
    return 25 * loudness_E[:, None] * epochs_EL / epochs_EL.std(axis=1, keepdims=True)


def flagged(epochs_EL: np.ndarray, fs_hz: float = 100.0, **options: float) -> dict[str, list[int]]:
    return {
        kind: np.flatnonzero(flags_E).tolist() for kind, flags_E in flag_artifacts(epochs_EL, fs_hz, **options).items()
    }


def only(**found: list[int]) -> dict[str, list[int]]:
    return {kind: found.get(kind, []) for kind in ARTIFACT_KINDS}


@pytest.mark.parametrize("fs_hz", [64.0, 100.0, 256.0, 500.0])
def test_a_clean_night_has_no_artefact(fs_hz):
    flags = flag_artifacts(clean_night(fs_hz=fs_hz), fs_hz)
    assert tuple(flags) == ARTIFACT_KINDS
    assert all(values_E.shape == (40,) and values_E.dtype == bool and not values_E.any() for values_E in flags.values())


@pytest.mark.parametrize(("seconds", "found"), [(1.5, []), (3.2, [7])])
def test_a_flat_stretch_of_two_whole_seconds_is_a_flatline(seconds, found):
    epochs_EL = clean_night()
    epochs_EL[7, 400 : 400 + round(100 * seconds)] = 12.0
    assert flagged(epochs_EL) == only(flatline=found)


def test_reaching_the_amplifiers_level_for_two_seconds_is_saturation():
    epochs_EL = clean_night()
    epochs_EL[5, [310, 450]] = 260.0
    epochs_EL[6, 310] = 260.0
    assert flagged(epochs_EL)["saturation"] == [5]
    assert flagged(epochs_EL, saturation_uv=500.0)["saturation"] == []


@pytest.mark.parametrize("fs_hz", [100.0, 500.0])
@pytest.mark.parametrize("side", [-1, 1])
def test_plateaus_at_the_recordings_own_extreme_are_saturation_at_any_level(fs_hz, side):
    epochs_EL = clean_night(fs_hz=fs_hz) * 0.5
    time_s = np.arange(epochs_EL.shape[1]) / fs_hz
    epochs_EL[9] += side * 150 * np.sin(2 * np.pi * 1.0 * time_s) * (time_s < 6)
    clipped_EL = np.clip(epochs_EL, -70, 1e6) if side < 0 else np.clip(epochs_EL, -1e6, 70)
    assert flagged(clipped_EL, fs_hz)["saturation"] == [9]
    assert flagged(epochs_EL, fs_hz)["saturation"] == []


def test_movement_is_large_and_rich_in_muscle_at_once():
    rng, time_s = np.random.default_rng(1), np.arange(3000) / 100
    inside = np.where((time_s > 10) & (time_s < 15), 1.0, 0.0)
    sway, muscle = 90 * np.sin(2 * np.pi * 0.7 * time_s) * inside, 25 * rng.normal(size=3000) * inside
    slow_wave_sleep = 90 * np.sin(2 * np.pi * 0.7 * time_s)
    epochs_EL = 0.5 * clean_night()
    epochs_EL[3] += sway + muscle
    epochs_EL[11] += slow_wave_sleep
    epochs_EL[20] += 0.3 * muscle
    assert flagged(epochs_EL) == only(motion=[3])


def test_movement_is_found_beside_hours_without_signal():
    epochs_EL = np.concatenate([0.5 * clean_night(), np.zeros((80, 3000))])
    epochs_EL[3, 1000:1500] += 60 * np.random.default_rng(1).normal(size=500)
    flags = flagged(epochs_EL)
    assert flags["motion"] == [3]
    assert flags["flatline"] == list(range(40, 120))


@pytest.mark.parametrize("line_hz", [50.0, 60.0])
@pytest.mark.parametrize(("amplitude_uv", "found"), [(1.0, []), (15.0, [2, 4])])
def test_mains_that_an_eye_would_see_are_line_noise(line_hz, amplitude_uv, found):
    epochs_EL = clean_night(fs_hz=256.0)
    epochs_EL[[2, 4]] += amplitude_uv * np.sin(2 * np.pi * line_hz * np.arange(7680) / 256)
    assert flagged(epochs_EL, 256.0) == only(line_noise=found)
    assert flagged(epochs_EL, 256.0, line_hz=line_hz)["line_noise"] == found
    assert flagged(epochs_EL, 256.0, line_hz=110.0 - line_hz)["line_noise"] == []


def test_no_line_is_claimed_where_the_nyquist_frequency_is_too_low():
    epochs_EL = clean_night() + 30 * np.cos(np.pi * np.arange(3000))
    assert flagged(epochs_EL)["line_noise"] == []
    assert (
        flagged(clean_night() + 30 * np.sin(2 * np.pi * 45 * np.arange(3000) / 100), line_hz=60.0)["line_noise"] == []
    )


@pytest.mark.parametrize(("num_missing", "found"), [(149, []), (150, [8]), (3000, [8])])
def test_a_twentieth_of_the_samples_missing_is_flagged_and_spoils_nothing_else(num_missing, found):
    epochs_EL = clean_night()
    epochs_EL[8, 3000 - num_missing :] = np.nan
    assert flagged(epochs_EL) == only(missing=found)


def test_a_night_of_nothing_is_missing_and_a_night_of_zeros_is_flat():
    assert flagged(np.full((2, 3000), np.nan)) == only(missing=[0, 1])
    assert flagged(np.zeros((2, 3000))) == only(flatline=[0, 1])
    assert flagged(np.zeros((0, 3000))) == only()


def test_flags_and_evidence_agree_on_what_is_flat_or_saturated():
    epochs_EL = clean_night()
    epochs_EL[1, :900], epochs_EL[2, 500:700] = 0.0, 300.0
    fraction_E = measure_evidence(epochs_EL, 100.0)["artefact_fraction"]
    flags = flag_artifacts(epochs_EL, 100.0)
    assert np.array_equal(fraction_E >= 0.05, flags["flatline"] | flags["saturation"])


@pytest.mark.parametrize("shape", [(3000,), (2, 300), (2, 3, 3000)])
def test_arrays_that_are_no_epochs_are_refused(shape):
    with pytest.raises(ValueError, match="num_epochs, samples"):
        flag_artifacts(np.zeros(shape), 100.0)
