import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tslm.data.cohorts.cohort import CohortConfig, RecordingFiles, find_recordings, load_cohort, parse_cohort
from tslm.data.cohorts.nights import read_scored_night, survey_recording
from tslm.data.readers.edf.writer import write_edf
from tslm.data.readers.raw import RawRecording, RawSignal
from tslm.labels import RK_ANNOTATIONS, SleepStage

W, N1, N2, N3, R = SleepStage.WAKE, SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.REM
UNSCORED = SleepStage.UNSCORED
STAGES = (W, W, N1, N2, N2, N3, R, SleepStage.MOVEMENT, UNSCORED, W)
SLEEP_EDF = load_cohort("sleep_edf")


def make_night(sleep_stages: tuple[SleepStage, ...] = STAGES) -> RawRecording:
    values = np.random.default_rng(0).normal(0, 40, 3000 * len(sleep_stages)).astype(np.float32)
    names = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal", "EMG submental")
    signals = {name: RawSignal(np.roll(values, 1000 * idx), 100.0) for idx, name in enumerate(names)}
    return RawRecording("x", "S-7", signals, sleep_stages, 30.0, start="2001-02-03T22:10:05", age="41", sex="F")


@pytest.fixture
def files(tmp_path: Path) -> RecordingFiles:
    psg_path, hypnogram_path = tmp_path / "SC4991E0-PSG.edf", tmp_path / "SC4991EC-Hypnogram.edf"
    write_edf(make_night(), psg_path, hypnogram_path)
    return find_recordings(SLEEP_EDF, tmp_path)[0]


def score(files: RecordingFiles, sleep_stages: tuple[SleepStage, ...]) -> None:
    """Replace the hypnogram by another one."""
    assert files.hypnogram_path is not None
    write_edf(make_night(sleep_stages), files.signal_path.with_name("other.edf"), files.hypnogram_path)


def patch(path: Path | None, offset: int, field: bytes) -> None:
    assert path is not None
    content = bytearray(path.read_bytes())
    content[offset : offset + len(field)] = field
    path.write_bytes(bytes(content))


def test_a_night_of_sleep_edf_has_its_stages_and_its_subject_from_the_name(files: RecordingFiles) -> None:
    night = read_scored_night(SLEEP_EDF, files)
    assert (night.recording, night.subject, night.source) == ("SC4991E0", "SC499", "sleep_edf")
    assert (night.start, night.age, night.sex) == ("2001-02-03T22:10:05", "41", "F")
    assert (night.sleep_stages, night.epoch_s, night.notes) == (STAGES, 30, ())
    assert list(night.signals) == ["EEG Fpz-Cz", "EOG horizontal", "EMG submental"]
    np.testing.assert_allclose(night.signals["EEG Fpz-Cz"].values, make_night().signals["EEG Fpz-Cz"].values, atol=0.01)


def test_without_a_rule_the_subject_is_the_patient_code_or_else_the_recording(files: RecordingFiles) -> None:
    nameless = replace(files, subject="")
    assert read_scored_night(SLEEP_EDF, nameless).subject == "S-7"
    patch(files.signal_path, 8, b"X".ljust(80))
    assert survey_recording(SLEEP_EDF, nameless).subject == "SC4991E0"


def test_a_hypnogram_of_another_night_is_refused(files: RecordingFiles) -> None:
    patch(files.hypnogram_path, 168, b"04.02.01")
    with pytest.raises(ValueError, match=r"does not match SC4991E0-PSG\.edf: it starts at 2001-02-04"):
        read_scored_night(SLEEP_EDF, files)


def test_a_hypnogram_that_scores_sleep_long_after_the_end_is_refused(files: RecordingFiles) -> None:
    score(files, STAGES + (N2,) * 5)
    with pytest.raises(ValueError, match="does not match.*labels go on to 450 s, the night ends at 300 s"):
        read_scored_night(SLEEP_EDF, files)


def test_scored_epochs_beyond_the_end_are_left_out_and_said(files: RecordingFiles) -> None:
    score(files, (*STAGES, W) + (W,) * 5 + (UNSCORED,) * 9)  # a bout of wake that begins in the recording
    night = read_scored_night(SLEEP_EDF, files)
    assert night.sleep_stages == STAGES
    assert night.notes == ("hypnogram goes on after the signals: 6 scored epochs left out",)
    score(files, (*STAGES, N2) + (W,) * 5)
    with pytest.raises(ValueError, match="labels go on to 480 s"):
        read_scored_night(SLEEP_EDF, files)


def test_unscored_epochs_beyond_the_end_are_no_matter(files: RecordingFiles) -> None:
    score(files, STAGES + (UNSCORED,) * 9)
    assert read_scored_night(SLEEP_EDF, files).notes == ()


def test_the_night_after_the_end_of_its_hypnogram_is_unscored_and_said(files: RecordingFiles) -> None:
    score(files, STAGES[:6])
    night = read_scored_night(SLEEP_EDF, files)
    assert night.sleep_stages == STAGES[:6] + (UNSCORED,) * 4
    assert night.notes == ("hypnogram ends 2 min early: 4 epochs unscored",)
    strict = replace(SLEEP_EDF, missing_labels="error")  # which a stage that says "not scored" is not
    with pytest.raises(ValueError, match=r"SC4991E0: epoch 6 \(at 180 s\) has no label"):
        read_scored_night(strict, files)


def test_a_hypnogram_of_less_than_half_the_night_is_refused_unless_it_is_said_to_belong(files: RecordingFiles) -> None:
    score(files, STAGES[:3])
    with pytest.raises(ValueError, match=r"labels end at 90 s, the night at 300 s.*hypnogram\.min_coverage=0"):
        read_scored_night(SLEEP_EDF, files)
    believed = replace(SLEEP_EDF, hypnogram=replace(SLEEP_EDF.hypnogram, min_coverage=0))
    assert read_scored_night(believed, files).sleep_stages == STAGES[:3] + (UNSCORED,) * 7


def test_a_truncated_night_is_read_when_asked_and_its_hypnogram_cut(files: RecordingFiles) -> None:
    files.signal_path.write_bytes(files.signal_path.read_bytes()[: -120 * 258 * 2])
    with pytest.raises(ValueError, match="truncated"):
        read_scored_night(SLEEP_EDF, files)
    lenient = replace(SLEEP_EDF, signals=replace(SLEEP_EDF.signals, allow_truncated=True))
    night = read_scored_night(lenient, files)
    assert len(night.sleep_stages) == len(night.signals["EEG Fpz-Cz"].values) // 3000 < 10
    assert night.sleep_stages == STAGES[: len(night.sleep_stages)]
    assert any("were read" in note for note in night.notes)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hypnogram_path": None, "missing": "SC499*-Hypnogram.edf"}, "no hypnogram beside it, wanted SC499*-Hypno"),
        ({"hypnogram_path": None}, "SC4991E0-PSG.edf holds no annotation"),
        ({}, "SC4991EC-Hypnogram.edf scores no epoch, its annotations are Movement time, Sleep stage ?"),
    ],
)
def test_a_night_without_a_scored_epoch_has_no_stages_and_says_why(
    files: RecordingFiles, change: dict[str, str | None], said: str
) -> None:
    score(files, (SleepStage.MOVEMENT,) + (UNSCORED,) * 9)
    files = replace(files, **change)
    assert survey_recording(SLEEP_EDF, files).unknown_labels == ()
    night = read_scored_night(SLEEP_EDF, files)
    assert night.sleep_stages == ()
    assert night.notes[0].startswith(f"no labels: {said}")
    with pytest.raises(ValueError, match=r"has no labels: .*; missing_labels=unscored would let it be"):
        read_scored_night(replace(SLEEP_EDF, missing_labels="error"), files)


def test_stages_that_the_map_does_not_know_are_all_listed(files: RecordingFiles) -> None:
    known = {text: stage.value for text, stage in RK_ANNOTATIONS.items() if stage not in (R, N1)}
    config = replace(SLEEP_EDF, labels=known)
    with pytest.raises(ValueError, match=r"unknown label\(s\) 'Sleep stage 1', 'Sleep stage R'; name each"):
        read_scored_night(config, files)
    assert survey_recording(config, files).unknown_labels == ("Sleep stage 1", "Sleep stage R")
    ignoring = replace(config, hypnogram=replace(config.hypnogram, ignore=("Sleep stage 1", "Sleep stage R")))
    night = read_scored_night(ignoring, files)
    assert night.sleep_stages[2] is UNSCORED
    assert night.notes == ("hypnogram has gaps: 2 epochs unscored",)  # one of them ended the labels of an epoch each


def test_annotations_of_other_kinds_are_no_stages(files: RecordingFiles) -> None:
    config: CohortConfig = parse_cohort({"labels": {"W": "W", "N2": "N2", "lights off": "UNSCORED"}})
    survey = survey_recording(config, files)
    assert "Movement time" in survey.unknown_labels  # reads like a stage
    assert "Sleep stage ?" not in survey.unknown_labels  # does not, nor begins as a known label


def test_the_real_night_has_its_published_stages() -> None:
    raw_dir = os.environ.get("TSLM_RAW_DIR")
    if not (Path(raw_dir or ".") / "SC4001E0-PSG.edf").is_file():
        pytest.skip("TSLM_RAW_DIR does not hold SC4001E0-PSG.edf: python -m data_prep.download sleep-edf")
    files = next(found for found in find_recordings(SLEEP_EDF, Path(str(raw_dir))) if found.recording == "SC4001E0")
    night = read_scored_night(SLEEP_EDF, files)
    assert (night.start, night.age, night.sex, night.notes) == ("1989-04-24T16:13:00", "33", "F", ())
    counts = {stage: night.sleep_stages.count(stage) for stage in (N1, N2, N3, R)}
    assert counts == {N1: 58, N2: 250, N3: 220, R: 125}
    assert len(night.signals["EEG Fpz-Cz"].values) == 7_950_000
