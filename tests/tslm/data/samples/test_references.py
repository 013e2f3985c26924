"""References of recordings, of parts of them, and what a short one takes from the nights of training."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.factories.small import CHANNEL, build_small_model, small_config, small_recording
from tslm.batch import IGNORE_INDEX, Reference
from tslm.config.schema import AugmentConfig, RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.dataset import describe_nights
from tslm.data.samples.night_windows import cut_window
from tslm.data.samples.recordings_dataset import NightDataset
from tslm.data.samples.references import (
    SHORTEST_EXCERPT,
    ReferenceMeter,
    average_spectra,
    draw_excerpt,
    keep_excerpt,
    measure_references,
)
from tslm.predictions.stager import open_stager
from tslm.signals.normalize import normalize_series
from tslm.training.checkpoints.checkpoint import save_checkpoint

BOTH = {"stage__extra_channels": ("EMG",)}


def prior_config(**changes: Any) -> RunConfig:
    base = {"model__name": "classifier", "model__prior_epochs": 60.0, "stage__task": "night"}
    return small_config(**{**base, **changes})


def cut(recording: Recording, part: slice) -> Recording:
    return replace(
        recording,
        channels={name: values_EL[part] for name, values_EL in recording.channels.items()},
        sleep_stages=recording.sleep_stages[part],
        onset_s=recording.onset_s[part],
        columns={},
    )


def assert_equal(ours: tuple[Reference | None, ...], theirs: tuple[Reference | None, ...]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one is not None and other is not None
        assert one.scale == other.scale
        if one.tone is None or other.tone is None:
            assert one.tone is other.tone is None
            assert np.array_equal(one.log_amplitude_K, other.log_amplitude_K)
        else:
            assert np.array_equal(one.tone.log_envelope_Q, other.tone.log_envelope_Q)


@pytest.mark.parametrize("prior_epochs", [0.0, 60.0])
def test_a_part_has_the_references_that_it_has_as_a_recording_of_its_own(prior_epochs: float) -> None:
    config = prior_config(**BOTH, model__prior_epochs=prior_epochs)
    night, part = small_recording(num_epochs=40), slice(7, 30)
    meter = ReferenceMeter(night, config)
    alone = ReferenceMeter(cut(night, part), config)
    for spectrum in ((), average_spectra([meter])):
        assert_equal(meter.measure(spectrum, part), alone.measure(spectrum))


def test_training_takes_the_typical_spectrum_of_its_nights_and_others_take_what_the_config_says() -> None:
    config = prior_config(**BOTH)
    loud, quiet = small_recording("n1"), small_recording("n2")
    loud = replace(loud, channels={name: 4 * values for name, values in loud.channels.items()})
    train = NightDataset([loud, quiet], config, augmented=True)
    own = [np.array(NightDataset([night], config, augmented=True).typical_spectrum) for night in (loud, quiet)]
    assert np.array(train.typical_spectrum) == pytest.approx(np.mean(own, axis=0), abs=1e-4)
    assert (own[0] - own[1])[:32] == pytest.approx(math.log(4), abs=1e-3)
    assert not own[0][32:].any()  # an EMG is read by rank, it has no spectrum
    assert NightDataset([quiet], config).typical_spectrum == ()
    trained = replace(config, model=describe_nights(config.model, train))
    assert NightDataset([quiet], trained, augmented=True).typical_spectrum == train.typical_spectrum
    assert average_spectra([ReferenceMeter(quiet, small_config())]) == ()


def test_the_typical_spectrum_goes_with_the_checkpoint_and_a_short_recording_needs_it(tmp_path: Path) -> None:
    config = prior_config()
    train = NightDataset([small_recording(num_epochs=40)], config, augmented=True)
    config = replace(config, model=describe_nights(config.model, train))
    save_checkpoint(build_small_model(config), config, {}, tmp_path / "best")
    stager: Any = open_stager(tmp_path / "best", torch.device("cpu"))
    assert stager.config.model.typical_spectrum == train.typical_spectrum
    short = cut(small_recording(num_epochs=40, seed=3), slice(4))
    without = replace(config, model=replace(config.model, typical_spectrum=()))
    known, unknown = stager.score(short), replace(stager, config=without).score(short)
    assert not np.allclose(known, unknown, atol=1e-3)


def test_excerpts_hold_their_epoch_and_are_drawn_evenly_in_the_logarithm_of_their_length() -> None:
    torch.manual_seed(0)
    drawn = [(centre, draw_excerpt(centre, 320, 1.0)) for centre in range(320) for _ in range(8)]
    lengths = np.array([part.stop - part.start for _, part in drawn])
    assert all(0 <= part.start <= centre < part.stop <= 320 for centre, part in drawn)
    assert lengths.min() == SHORTEST_EXCERPT
    for limit, share in ((40, 1 / 4), (80, 1 / 2), (160, 3 / 4)):
        assert (lengths < limit).mean() == pytest.approx(share, abs=0.05)
    whole = [draw_excerpt(100, 320, 0.25) == slice(0, 320) for _ in range(2000)]
    assert np.mean(whole) == pytest.approx(0.75, abs=0.05)


def test_where_nothing_is_left_to_draw_no_number_is_drawn() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    assert draw_excerpt(5, 320, 0.0) == slice(0, 320)
    assert draw_excerpt(5, SHORTEST_EXCERPT, 1.0) == slice(0, SHORTEST_EXCERPT)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("centre", [10, 14, 29])
def test_a_window_of_an_excerpt_is_that_of_a_recording_of_the_excerpt_alone(centre: int) -> None:
    night, part = small_recording(num_epochs=40), slice(10, 30)
    config = prior_config()
    sleep_stage_idx = np.arange(40) % 5

    def cut_around(recording: Recording, idx: np.ndarray, at: int) -> Any:
        return cut_window(recording, [CHANNEL], idx, at, 25, measure_references(recording, config))

    ours = keep_excerpt(cut_around(night, sleep_stage_idx, centre), centre, part)
    theirs = cut_around(cut(night, part), sleep_stage_idx[part], centre - part.start)
    for name in ("values_WCL", "epoch_mask_W", "sleep_stage_idx_W"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))
    assert (ours.sleep_stage_idx_W != IGNORE_INDEX).any()


@pytest.mark.parametrize("prior_epochs", [0.0, 1e-6])
def test_what_an_amplifier_does_to_a_recording_its_own_reference_undoes(prior_epochs: float) -> None:
    config = prior_config(**BOTH, model__prior_epochs=prior_epochs)
    off, on = ({"gain_jitter": 0.0, "band_jitter": 0.0, "amplifier_jitter": jitter} for jitter in (0.0, 0.5))
    nights = [small_recording(num_epochs=60)]
    torch.manual_seed(0)
    plain, changed = (
        NightDataset(nights, replace(config, augment=AugmentConfig(**each)), augmented=True)[2] for each in (off, on)
    )
    before_WCL, after_WCL = plain.window.values_WCL, changed.window.values_WCL
    assert not np.allclose(before_WCL[:, 0], after_WCL[:, 0], rtol=0.1)
    assert np.array_equal(before_WCL[:, 1], after_WCL[:, 1])  # an EMG is read by rank
    references = [each.window.references[0] for each in (plain, changed)]
    spectra = [  # above the slowest, which an epoch is too short for
        np.log(np.abs(np.fft.rfft(normalize_series(values_WL, "whitened", reference))).mean(axis=0))[20:]
        for values_WL, reference in zip((before_WCL[:, 0], after_WCL[:, 0]), references, strict=True)
    ]
    assert np.abs(spectra[1] - spectra[0]).mean() < 0.05
    unknown_F = np.log(np.abs(np.fft.rfft(normalize_series(after_WCL[:, 0], "whitened", references[0]))).mean(axis=0))
    assert np.abs(unknown_F[20:] - spectra[0]).mean() > 0.2


def test_windows_of_training_alone_are_normalised_as_parts() -> None:
    config = replace(prior_config(), augment=AugmentConfig(gain_jitter=0, band_jitter=0, excerpt_share=1.0))
    nights = [small_recording(num_epochs=60)]
    torch.manual_seed(0)
    whole, varied = NightDataset(nights, config), NightDataset(nights, config, augmented=True)
    scales = {float(varied[idx].window.references[0].scale) for idx in range(len(varied))}
    assert len(scales) > len(varied) / 2
    assert {id(whole[idx].window.references) for idx in range(len(whole))} == {id(whole.references[0])}
