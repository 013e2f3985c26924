from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tslm.data.readers.hypnograms.config import HypnogramConfig
from tslm.data.readers.hypnograms.read import read_hypnogram_file
from tslm.export.night import NightResult
from tslm.export.rows import describe_stages, write_events, write_hypnogram


def test_pandas_reads_the_stages_and_probabilities_that_were_given(night: NightResult, tmp_path: Path) -> None:
    write_hypnogram(night, tmp_path / "hypnogram.csv")
    table = pd.read_csv(tmp_path / "hypnogram.csv", keep_default_na=False, na_values=[""])
    assert list(table["epoch_idx"]) == list(night.span)
    np.testing.assert_allclose(table["onset_s"], 30.0 * np.array(night.span))
    assert tuple(table["stage"]) == tuple(stage.value for stage in night.hypnogram.sleep_stages)
    columns = [f"p_{stage.value}" for stage in night.label_set.sleep_stages]
    scored = table[table["epoch_idx"].isin(night.epoch_idx)]
    np.testing.assert_allclose(scored[columns], night.probabilities_EK, atol=5e-5)
    expected = -(night.probabilities_EK * np.log2(night.probabilities_EK)).sum(axis=1)
    np.testing.assert_allclose(scored["entropy_bits"], expected, atol=1e-3)
    assert list(scored["epoch_idx"][scored["artifacts"] == "motion"]) == [night.epoch_idx[3]]
    lost = table[~table["epoch_idx"].isin(night.epoch_idx)]
    assert set(lost["artifacts"]) == {"missing"}
    assert lost[columns].isna().all(axis=None)


def test_the_stages_before_smoothing_have_a_column_only_where_stages_were_smoothed(
    night: NightResult, tmp_path: Path
) -> None:
    before = (*night.sleep_stages[1:], night.sleep_stages[0])
    write_hypnogram(replace(night, unsmoothed=before), tmp_path / "smoothed.csv")
    write_hypnogram(night, tmp_path / "plain.csv")
    smoothed = pd.read_csv(tmp_path / "smoothed.csv")
    scored = smoothed[smoothed["epoch_idx"].isin(night.epoch_idx)]
    assert tuple(scored["stage_unsmoothed"]) == tuple(stage.value for stage in before)
    assert "stage_unsmoothed" not in pd.read_csv(tmp_path / "plain.csv").columns


def test_the_table_is_a_hypnogram_to_our_own_reader(night: NightResult, tmp_path: Path) -> None:
    write_hypnogram(night, tmp_path / "hypnogram.csv")
    labels = read_hypnogram_file(tmp_path / "hypnogram.csv", HypnogramConfig(), 30.0).labels
    assert [(label.onset_s, label.text) for label in labels] == [
        (30.0 * epoch, stage.value) for epoch, stage in zip(night.span, night.hypnogram.sleep_stages, strict=True)
    ]


def test_events_count_time_from_the_start_of_the_file(night: NightResult, tmp_path: Path) -> None:
    write_events(night, tmp_path / "events.csv")
    table = pd.read_csv(tmp_path / "events.csv")
    assert night.events is not None
    expected = [
        (event.kind.value, epoch, 30 * epoch + event.onset_s, event.duration_s)
        for epoch, events in zip(night.epoch_idx, night.events, strict=True)
        for event in events
    ]
    assert len(expected) > 10
    assert list(table["kind"]) == [kind for kind, *_ in expected]
    np.testing.assert_allclose(table.iloc[:, 1:], [row[1:] for row in expected], atol=0.006)


def test_stages_for_json_name_every_scored_epoch_once(night: NightResult) -> None:
    described = describe_stages(night)
    assert [epoch["epoch_idx"] for epoch in described] == list(night.epoch_idx)
    assert [max(epoch["probabilities"], key=epoch["probabilities"].get) for epoch in described] == [
        epoch["stage"] for epoch in described
    ]
    assert all(sum(epoch["probabilities"].values()) == pytest.approx(1, abs=1e-5) for epoch in described)
