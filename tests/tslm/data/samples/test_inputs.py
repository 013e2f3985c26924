"""What a classifier reads beside the signal (`model.inputs`)."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.factories.small import build_small_model, small_config
from tslm.batch import IGNORE_INDEX
from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import Recording
from tslm.data.samples.collate import Collator
from tslm.data.samples.inputs import INPUTS, count_inputs, find_flagged, measure_inputs, normalize_inputs
from tslm.data.samples.recordings_dataset import NightDataset
from tslm.data.samples.runs import compute_run_logits
from tslm.labels import SleepStage
from tslm.predictions.night_scorer import NightScorer
from tslm.signals.artifacts import ARTIFACT_KINDS
from tslm.signals.features import FEATURE_COLUMNS, measure_features

FS_HZ, NUM_EPOCHS = 100.0, 12
ALL = tuple(INPUTS)


def mouse(**changes: Any) -> Recording:
    """Epochs of 10 s; the fourth moves; the light goes off after the first minute."""
    rng = np.random.default_rng(0)
    epochs_EL = rng.normal(0, 50, (NUM_EPOCHS, 1000)).astype(np.float32)
    flags = {f"{kind}_flag": np.zeros(NUM_EPOCHS, dtype=bool) for kind in ARTIFACT_KINDS}
    flags["motion_flag"][3] = True
    stages = (SleepStage.WAKE, SleepStage.NREM, SleepStage.REM) * (NUM_EPOCHS // 3)
    recording = Recording(
        "mouse",
        "animal",
        FS_HZ,
        10.0,
        {"EEG": epochs_EL, "EMG": 0.1 * epochs_EL[:, ::-1].copy()},
        stages,
        10.0 * np.arange(NUM_EPOCHS),
        flags,
        species="mouse",
        start="2026-11-01T18:59:00",
        lights_on="07:00",
        lights_off="19:00",
    )
    return replace(recording, **changes)


def config_of(*inputs: str, **changes: Any) -> RunConfig:
    return small_config(
        model__name="classifier",
        model__label_set="rodent",
        model__inputs=inputs,
        model__encoder__patch_size=100,
        stage__channel="EEG",
        stage__extra_channels=("EMG",),
        stage__trained=("encoder", "context", "classifier"),
        **changes,
    )


def batch_of(config: RunConfig, recording: Recording | None = None) -> Any:
    dataset = NightDataset([recording or mouse()], config)
    return Collator(config.model, None)([dataset[idx] for idx in range(len(dataset))])


@pytest.mark.parametrize("name", ALL)
def test_each_row_of_the_table_gives_its_numbers_for_every_epoch(name: str) -> None:
    measured_EF = measure_inputs(mouse(), config_of(name))
    assert measured_EF is not None and measured_EF.shape == (NUM_EPOCHS, count_inputs([name]))
    assert np.isfinite(normalize_inputs(measured_EF, [name])).all()


def test_the_numbers_are_those_of_the_signal_the_flags_the_light_and_the_clock() -> None:
    recording = mouse()
    measured_EF = measure_inputs(recording, config_of(*ALL))
    assert measured_EF is not None
    expected = measure_features(recording.channels["EEG"], FS_HZ, "mouse", recording.channels["EMG"])
    np.testing.assert_allclose(measured_EF[:, : len(expected)].T, list(expected.values()), rtol=1e-5)
    flags_EF, (light_E, sine_E, cosine_E) = measured_EF[:, len(expected) : -3], measured_EF[:, -3:].T
    assert np.argwhere(flags_EF).tolist() == [[3, ARTIFACT_KINDS.index("motion")]]
    assert light_E.tolist() == [1.0] * 6 + [0.0] * 6
    hour = (18 + 59 / 60 + 5 / 3600) * 2 * np.pi / 24
    assert (sine_E[0], cosine_E[0]) == pytest.approx((np.sin(hour), np.cos(hour)))


def test_features_are_related_to_the_recording_so_that_an_amplifiers_gain_changes_nothing() -> None:
    config, recording = config_of("features"), mouse()
    louder = replace(recording, channels={name: 3 * values for name, values in recording.channels.items()})
    ours, theirs = (
        normalize_inputs(measured_EF, ["features"])
        for each in (recording, louder)
        if (measured_EF := measure_inputs(each, config)) is not None
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    level_E = ours[:, FEATURE_COLUMNS.index("delta_log_power")]
    assert np.median(level_E) == pytest.approx(0, abs=1e-6)
    assert np.subtract(*np.percentile(level_E, (75, 25))) == pytest.approx(1.349, rel=1e-3)


def test_an_emg_that_may_be_missing_is_no_feature() -> None:
    column = FEATURE_COLUMNS.index("emg_rms_uv")
    needed = measure_inputs(mouse(), config_of("features"))
    optional = measure_inputs(mouse(), config_of("features", model__channel_dropout=0.3))
    assert needed is not None and optional is not None
    assert np.isfinite(needed[:, column]).all() and np.isnan(optional[:, column]).all()
    assert not normalize_inputs(optional, ["features"])[:, column].any()


@pytest.mark.parametrize(
    ("name", "lack", "said"),
    [
        ("light", {"lights_on": ""}, "states no times of light"),
        ("light", {"start": ""}, "states no start"),
        ("clock", {"start": ""}, "states no start"),
        ("flags", {"columns": {}}, "has no column 'flatline_flag'"),
        ("features", {"fs_hz": 50.0}, "need 64 Hz or more"),
    ],
)
def test_what_a_recording_does_not_state_is_refused(name: str, lack: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        measure_inputs(mouse(**lack), config_of(name))


@pytest.mark.parametrize(("names", "said"), [(["feature"], "did you mean"), (["light", "light"], "twice")])
def test_names_that_are_no_rows_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        count_inputs(names)


def test_a_live_model_reads_nothing_that_needs_the_whole_recording() -> None:
    with pytest.raises(ValueError, match="leave them out with model.context.causal"):
        config_of("flags", model__context__causal=True)


@torch.no_grad()
def test_at_the_start_a_model_with_inputs_is_the_model_without_them() -> None:
    plain, wide = config_of(), config_of(*ALL)
    model, wider = build_small_model(plain), build_small_model(wide)
    missing, unexpected = wider.load_state_dict(model.state_dict(), strict=False)
    assert set(missing) == {"reader.inputs.weight", "reader.inputs.bias"} and not unexpected
    assert torch.equal(wider(batch_of(wide)).loss_sum, model(batch_of(plain)).loss_sum)


def test_inputs_get_gradients_and_reach_each_epoch_alone() -> None:
    config = config_of(*ALL)
    model, batch = build_small_model(config), batch_of(config)
    model(batch).loss_sum.backward()
    assert bool((model.reader.inputs.weight.grad.abs().sum(dim=0) > 0)[batch.inputs_BWF.abs().sum((0, 1)) > 0].all())
    with torch.no_grad():
        model.reader.inputs.weight.normal_()
        changed = replace(batch, inputs_BWF=batch.inputs_BWF.clone())
        changed.inputs_BWF[0, 2] += 1
        before, after = (
            model.logits(each.window_BWCL, each.epoch_mask_BW, None, each.inputs_BWF)[0] for each in (batch, changed)
        )
    assert {tuple(place[:2]) for place in (before != after).nonzero().tolist()} == {(0, 2)}


@torch.no_grad()
def test_a_whole_night_and_its_windows_read_the_same_numbers() -> None:
    config = config_of(*ALL, model__context__kind="none")
    model, recording = build_small_model(config), mouse()
    model.reader.inputs.weight.normal_()
    seen: list[np.ndarray] = []

    def keep(epochs_WCL: np.ndarray, _mask_C: np.ndarray, inputs_WF: np.ndarray | None) -> np.ndarray:
        assert inputs_WF is not None and len(inputs_WF) == len(epochs_WCL)
        seen.append(inputs_WF)
        return np.zeros((len(epochs_WCL), 3))

    compute_run_logits(recording, config, keep)
    np.testing.assert_array_equal(np.concatenate(seen), batch_of(config).inputs_BWF[:, 0].numpy())
    probabilities_EK = NightScorer(model, config).score(recording)
    plain_EK = NightScorer(build_small_model(config_of(model__context__kind="none")), config_of()).score(recording)
    assert np.abs(probabilities_EK - plain_EK).max() > 0.01


def test_epochs_with_an_artefact_are_not_learned_from_but_seen() -> None:
    config = config_of(stage__drop_flagged=("motion",))
    trained, tested = (NightDataset([mouse()], config, augmented=augmented) for augmented in (True, False))
    assert trained.sleep_stage_idx[0][3] == IGNORE_INDEX and tested.sleep_stage_idx[0][3] == 0
    assert trained.count_classes().sum() == NUM_EPOCHS - 1
    assert trained[0].window is not None and trained[0].window.epoch_mask_W.sum() == 5 - (len(trained) > 1)
    assert not find_flagged(mouse(), ["flatline"]).any()
    with pytest.raises(ValueError, match="unknown kind of artefact"):
        find_flagged(mouse(), ["sweat"])
