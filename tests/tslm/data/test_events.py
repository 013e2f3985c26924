from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.cohorts.cohort import prepare_night
from data_prep.simulators.human.night import simulate_human_night
from tests.factories.small import small_config
from tslm.data.events import recording_events
from tslm.data.prepared.recordings import Recording, read_recording, write_recording
from tslm.data.samples.recordings_dataset import SleepDataset
from tslm.evidence.criteria import Feature
from tslm.evidence.events import find_events, parse_events, render_events

EEG, OTHER = "EEG Fpz-Cz", "another"


@pytest.fixture(scope="module")
def night() -> Recording:
    raw = simulate_human_night(4, 0)
    (signal,) = raw.signals.values()
    short = replace(signal, values=signal.values[: 180 * round(30 * signal.fs_hz)])
    other = replace(short, values=short.values[::-1].copy())
    return prepare_night(replace(raw, signals={EEG: short, OTHER: other}))


def test_events_of_a_prepared_file_are_those_of_the_night_before_it_was_written(
    night: Recording, tmp_path: Path
) -> None:
    write_recording(night, tmp_path, "test")
    back = read_recording(tmp_path / f"{night.recording}.parquet")
    assert recording_events(back) == recording_events(night)


def test_an_epoch_has_the_same_events_alone_as_in_its_night(night: Recording) -> None:
    events = recording_events(night)
    alone = [recording_events(night, epochs=slice(idx, idx + 1)) for idx in range(night.num_epochs)]
    assert alone == [[row] for row in events]


def test_events_are_of_the_channel_that_was_measured_however_channels_are_read(
    night: Recording, tmp_path: Path
) -> None:
    write_recording(night, tmp_path, "test")
    path = tmp_path / f"{night.recording}.parquet"
    wanted = find_events(night.channels[EEG], night.fs_hz)
    assert recording_events(read_recording(path, [OTHER, EEG])) == wanted
    assert wanted != find_events(night.channels[OTHER], night.fs_hz)
    without = read_recording(path, [OTHER])
    with pytest.raises(ValueError, match=f"without channel '{EEG}'"):
        recording_events(without)
    assert recording_events(without, OTHER) == find_events(night.channels[OTHER], night.fs_hz)


def test_a_row_of_predictions_holds_events_beside_the_evidence_they_agree_with(night: Recording) -> None:
    config = small_config(stage__channel=EEG, model__fs_hz=night.fs_hz)
    dataset = SleepDataset([night], config)
    num_events = 0
    for idx in range(len(dataset)):
        row = dataset.describe(idx)
        kinds = [event.kind for event in parse_events(row["events"])]
        assert kinds.count(Feature.SPINDLES) == row["evidence"]["spindle_count"]
        assert kinds.count(Feature.K_COMPLEXES) == row["evidence"]["k_complex_count"]
        num_events += len(kinds)
    assert num_events > 20
    unmeasured = replace(night, columns={})
    of_other = replace(night, measured_channel=OTHER)
    for recording in (unmeasured, of_other):
        assert "events" not in SleepDataset([recording], config).describe(0)


def test_a_recording_that_the_detectors_cannot_take_is_named_with_what_is_wanted(night: Recording) -> None:
    with pytest.raises(ValueError, match=f"{night.recording}: sampling rate is 50 Hz; .* needs 64 Hz or more"):
        recording_events(replace(night, fs_hz=50.0))
    short = {name: epochs_EL[:, :300] for name, epochs_EL in night.channels.items()}
    with pytest.raises(ValueError, match=f"{night.recording}: epochs last 3 s; .* needs 4 s or more"):
        recording_events(replace(night, channels=short))


def test_events_come_back_from_their_rows_to_a_hundredth_of_a_second(night: Recording) -> None:
    for events in recording_events(night):
        back = parse_events(render_events(events))
        assert [event.kind for event in back] == [event.kind for event in events]
        for name in ("onset_s", "duration_s"):
            values_s = [[getattr(event, name) for event in one] for one in (back, events)]
            np.testing.assert_allclose(*values_s, rtol=0, atol=0.005001)


@pytest.mark.parametrize(
    "row", [["spindles", 1.0], ["spindle", 1.0, 0.5], ["delta", 1, 2], ["alpha", -1, 2], ["alpha", None, 2], "alpha", 3]
)
def test_what_is_no_event_is_refused(row: object) -> None:
    with pytest.raises(ValueError, match="is no event; wanted"):
        parse_events([row])
