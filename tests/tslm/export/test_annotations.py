import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyedflib
import pytest

from tslm.data.readers.hypnograms.config import HypnogramConfig
from tslm.data.readers.hypnograms.grid import build_sleep_stages
from tslm.data.readers.hypnograms.read import find_unknown_labels, read_hypnogram_file
from tslm.data.readers.open import open_signals
from tslm.data.readers.raw import SignalsConfig
from tslm.export.annotations import (
    list_annotations,
    name_in_bids,
    write_annotations,
    write_bids_events,
    write_bids_sidecar,
)
from tslm.export.night import NightResult
from tslm.files import DISCLAIMER
from tslm.labels import AASM_ANNOTATIONS, SleepStage


def assert_equal_annotations(night: NightResult, onset_s: list, duration_s: list, texts: list) -> None:
    expected = list_annotations(night)
    assert len(texts) == len(expected) > len(night.span)
    np.testing.assert_allclose(onset_s, [note.onset_s for note in expected], atol=2e-4)
    np.testing.assert_allclose(duration_s, [note.duration_s for note in expected], atol=2e-4)
    assert list(texts) == [note.text for note in expected]


def test_pyedflib_reads_the_annotations_that_were_written(night: NightResult, tmp_path: Path) -> None:
    write_annotations(night, tmp_path / "annotations.edf")
    with pyedflib.EdfReader(str(tmp_path / "annotations.edf")) as reader:
        assert reader.getStartdatetime() == night.start
        assert_equal_annotations(night, *reader.readAnnotations())


def test_mne_reads_the_annotations_that_were_written(night: NightResult, tmp_path: Path) -> None:
    mne = pytest.importorskip("mne", reason="needs the extra mne")
    write_annotations(night, tmp_path / "annotations.edf")
    read = mne.read_annotations(tmp_path / "annotations.edf")
    assert_equal_annotations(night, read.onset, read.duration, read.description)


def test_the_annotations_are_a_hypnogram_to_our_own_reader(night: NightResult, tmp_path: Path) -> None:
    write_annotations(night, tmp_path / "annotations.edf")
    notes = open_signals(tmp_path / "annotations.edf", SignalsConfig()).read_annotations()
    assert find_unknown_labels(notes, AASM_ANNOTATIONS, HypnogramConfig(), only_sleep_stages=False) == []
    stages = build_sleep_stages(notes, AASM_ANNOTATIONS, HypnogramConfig(), 30.0)
    assert stages[night.span.start :] == night.hypnogram.sleep_stages


def test_without_events_only_stages_are_annotated(night: NightResult) -> None:
    assert len(list_annotations(replace(night, events=None))) == len(night.span)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("SC4001E0-PSG.edf", "sub-SC4001E0PSG_task-sleep"),
        ("sub-01_ses-a_task-nap_run-2_eeg.edf", "sub-01_ses-a_task-nap_run-2"),
        ("sub-01.edf", "sub-sub01_task-sleep"),
        ("ä.edf", "sub-unknown_task-sleep"),
    ],
)
def test_a_name_of_bids_is_kept_and_any_other_becomes_one(file: str, name: str) -> None:
    assert name_in_bids(Path(file)) == name


def test_pandas_reads_the_stages_as_events_of_bids(night: NightResult, tmp_path: Path) -> None:
    write_bids_events(night, tmp_path / "events.tsv")
    table = pd.read_csv(tmp_path / "events.tsv", sep="\t", na_values="n/a")
    assert list(table.columns) == ["onset", "duration", "trial_type"]
    np.testing.assert_allclose(table["onset"], 30.0 * np.array(night.span))
    assert set(table["duration"]) == {30}
    stages = [SleepStage.UNSCORED if pd.isna(name) else SleepStage(name) for name in table["trial_type"]]
    assert tuple(stages) == night.hypnogram.sleep_stages
    labels = read_hypnogram_file(tmp_path / "events.tsv", HypnogramConfig(), 30.0).labels
    assert [label.text for label in labels] == [stage.value for stage in night.sleep_stages]


def test_the_sidecar_describes_each_column_and_level(night: NightResult, tmp_path: Path) -> None:
    write_bids_events(night, tmp_path / "events.tsv")
    write_bids_sidecar(night, tmp_path / "events.json")
    sidecar = json.loads((tmp_path / "events.json").read_text())
    table = pd.read_csv(tmp_path / "events.tsv", sep="\t")
    assert list(sidecar) == list(table.columns)
    assert all(column["Description"] for column in sidecar.values())
    assert set(table["trial_type"].dropna()) <= set(sidecar["trial_type"]["Levels"])
    assert DISCLAIMER in sidecar["trial_type"]["Description"]
