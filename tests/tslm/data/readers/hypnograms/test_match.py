"""A hypnogram and its recording: time zero, the scorer's grid, and contradictions, through the reader of nights."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from tslm.data.cohorts.cohort import CohortConfig, find_recordings, parse_cohort
from tslm.data.cohorts.nights import read_scored_night
from tslm.data.epochs import cut_epochs
from tslm.data.readers.edf.writer import write_edf, write_edf_annotations
from tslm.data.readers.raw import Annotation, RawRecording, RawSignal

CODES = ["W", "W", "N1", "N2", "N2", "N3", "N3", "N2", "R", "W"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a recording of 300 s from 22:00 on."""
    values = np.random.default_rng(0).normal(0, 30, 30000).astype(np.float32)
    night = RawRecording("n", "n", {"EEG": RawSignal(values, 100.0)}, (), 30.0, start="2010-01-31T22:00:00")
    write_edf(night, tmp_path / "n.edf", tmp_path / "x")
    return tmp_path


def read_text(folder: Path, text: str, suffix: str = ".csv", **words: object) -> RawRecording:
    (folder / f"n{suffix}").write_text(text)
    return read_night(folder, suffix, **words)


def read_night(folder: Path, suffix: str, **words: object) -> RawRecording:
    hypnogram = {"files": "{stem}" + suffix, **words}
    content = {"signals": {"files": "n.edf"}, "hypnogram": hypnogram, "channels": {"EEG": "EEG"}, "epoch_s": 30}
    labels = {code: code for code in ("W", "N1", "N2", "N3", "R")} | {
        f"Sleep stage {code}": code for code in set(CODES)
    }
    config: CohortConfig = parse_cohort({**content, "labels": labels})
    return read_scored_night(config, find_recordings(config, folder)[0])


def codes_of(night: RawRecording) -> str:
    return " ".join(stage.value for stage in night.sleep_stages)


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("\n".join(CODES[idx // 3] for idx in range(30)), {}, "go on to 900 s, .* with hypnogram.epoch_s=10"),
        ("\n".join(CODES[::2]), {}, "labels end at 150 s, .* with hypnogram.epoch_s=60"),
        ("\n".join(CODES[:7]), {"suffix": ".txt"}, "labels end at 210 s"),
        ("onset,stage\n0,W\n30,N1\n60,N2\n", {}, "labels end at 90 s"),
        ("onset,duration,stage\n0,5,W\n150,5,N1\n270,5,N1\n", {}, "cover 15 s, .*until_next=true"),
        ("epoch,stage\n1,W\n1,N2\n2,N1\n3,N1\n", {}, "'W' and 'N2' at 0 s; choose with hypnogram.scorer"),
        ("onset,duration,stage\n0,37,W\n37,41,N1\n78,101,N2\n179,121,R\n", {}, "on no grid of 30 s"),
        ("time,stage\n22:10:00,W\n22:10:30,N1\n", {}, "go on to 660 s"),
        ("onset,time,stage\n0,21:00:00,W\n30,21:00:30,N1\n", {}, "second 0 is at 21:00:00 .*hypnogram.start=recording"),
    ],
)  # fmt: skip
def test_a_contradiction_is_refused_with_its_likely_reason(
    folder: Path, text: str, words: dict[str, str], said: str
) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        read_text(folder, text, **words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{k},{code}\n{k},W\n", {"scorer": "1"}),
        ("{k},W\n{k},{code}\n", {"scorer": "2"}),
        ("05:{minute:02d}:{second:02d},{code}\n", {"start": "recording"}),
        ("05:{minute:02d}:{second:02d},{code}\n", {"start": "22:00"}),
        ("{late},{code}\n", {"start": "-90"}),
        ("00:{minute:02d}:{second:02d},{code}\n", {}),
    ],
)
def test_one_key_settles_each_question(folder: Path, row: str, words: dict[str, object]) -> None:
    places = [{"k": idx + 1, "minute": idx // 2, "second": idx % 2 * 30, "late": 90 + 30 * idx} for idx in range(10)]
    text = "".join(row.format(code=code, **place) for code, place in zip(CODES, places, strict=True))
    assert codes_of(read_text(folder, text, **words)) == " ".join(CODES)


def test_lines_of_another_length_are_read_when_they_are_told(folder: Path) -> None:
    text = "\n".join(CODES[idx // 3] for idx in range(30))
    assert codes_of(read_text(folder, text, ".txt", epoch_s=10)) == " ".join(CODES)


def test_blank_lines_take_a_place_where_the_length_says_so(folder: Path) -> None:
    spaced = "\n".join(["W", "", *CODES[1:3], "", "", *CODES[3:]])
    assert codes_of(read_text(folder, spaced, ".txt")) == " ".join(CODES)
    gap = "\n".join([*CODES[:3], "", "", *CODES[5:]])
    assert codes_of(read_text(folder, gap, ".txt")) == " ".join([*CODES[:3], "UNSCORED", "UNSCORED", *CODES[5:]])


@pytest.mark.parametrize(
    ("start", "codes", "note"),
    [
        ("2010-01-31T22:00:00", CODES, ""),
        ("2010-01-31T22:01:00", ["UNSCORED"] * 2 + CODES[:8], "starts 60 s after the recording"),
        ("2010-01-31T21:59:00", CODES[2:] + ["UNSCORED"] * 2, "starts 60 s before the recording"),
        ("1985-01-01T22:00:00", CODES, "date is 1985-01-01, the recording's 2010-01-31: the time of day decides"),
        ("1985-01-01T22:01:00", ["UNSCORED"] * 2 + CODES[:8], "starts 60 s after the recording"),
        ("2004-05-06T22:00:00", CODES, "date is 2004-05-06"),
        ("1985-01-01T00:00:00", CODES, ""),
    ],
)
def test_annotations_count_from_the_start_of_their_own_file(
    folder: Path, start: str, codes: list[str], note: str
) -> None:
    labels = [Annotation(30.0 * idx, 30.0, f"Sleep stage {code}") for idx, code in enumerate(CODES)]
    if codes != CODES:
        labels = labels[:8] if codes[0] == "UNSCORED" else labels
    write_edf_annotations(labels, folder / "n.hyp.edf", datetime.fromisoformat(start), "n")
    night = read_night(folder, ".hyp.edf")
    assert codes_of(night) == " ".join(codes)
    assert note in "; ".join(night.notes)


def test_a_hypnogram_of_the_next_night_is_refused_and_one_key_overrides(folder: Path) -> None:
    labels = [Annotation(30.0 * idx, 30.0, f"Sleep stage {code}") for idx, code in enumerate(CODES)]
    write_edf_annotations(labels, folder / "n.hyp.edf", datetime(2010, 2, 1, 22, 0), "n")
    with pytest.raises(ValueError, match=r"starts at 2010-02-01T22:00:00, .*hypnogram\.start=recording"):
        read_night(folder, ".hyp.edf")
    assert codes_of(read_night(folder, ".hyp.edf", start="recording")) == " ".join(CODES)


def test_epochs_are_cut_where_they_were_scored(folder: Path) -> None:
    rows = "".join(f"{13 + 30 * idx},{code}\n" for idx, code in enumerate(CODES[:9]))
    night = read_text(folder, f"onset,stage\n{rows}")
    assert (night.grid_s, codes_of(night)) == (13.0, " ".join(CODES[:9]))
    assert "epochs are cut from 13 s on, where they were scored" in night.notes
    cut = cut_epochs(night)
    assert cut.onset_s.tolist() == [13 + 30 * idx for idx in range(9)]
    plain = cut_epochs(replace(night, grid_s=0.0, sleep_stages=()))
    whole, moved = (np.concatenate(list(one.channels["EEG"])) for one in (plain, cut))
    np.testing.assert_allclose(moved, whole[1300 : 1300 + len(moved)], atol=0.02)


def test_a_few_labels_beside_the_grid_are_said(folder: Path) -> None:
    onsets_s = [30 * idx + (7 if idx == 4 else 0) for idx in range(10)]
    rows = "".join(f"{onset_s},30,{code}\n" for onset_s, code in zip(onsets_s, CODES, strict=True))
    night = read_text(folder, f"onset,duration,stage\n{rows}")
    assert codes_of(night) == " ".join(CODES)
    assert "1 of 10 labels begin beside the grid; an epoch has the label at its middle" in night.notes
