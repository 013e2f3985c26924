from dataclasses import replace
from pathlib import Path

import matplotlib.colors
import numpy as np
import pytest
from matplotlib.image import imread

from tslm.data.cohorts.experts import Expert
from tslm.export.figure import draw_night, write_figure
from tslm.export.night import NightResult
from tslm.labels import LABEL_SETS, SleepStage


def test_the_hypnogram_has_a_coloured_bar_for_each_bout(night: NightResult) -> None:
    top, _ = draw_night(night).axes
    scored = [bout for bout in night.hypnogram.bouts if bout.sleep_stage in night.label_set.sleep_stages]
    names = {tick.get_position()[1]: tick.get_text() for tick in top.get_yticklabels()}
    starts_h = [line.get_xdata()[0] for line in top.lines]
    np.testing.assert_allclose(starts_h, [(night.span.start + bout.start_idx) * 30 / 3600 for bout in scored])
    drawn = [names[line.get_ydata()[0]] for line in top.lines]
    assert [{"REM": "R"}.get(name, name) for name in drawn] == [bout.sleep_stage.value for bout in scored]


def test_an_experts_hypnogram_stands_above_the_models(night: NightResult) -> None:
    expert = Expert(Path("anna.txt"), (SleepStage.N2,) * 90, 30)
    top, middle, bottom = draw_night(night.add_expert(expert)).axes
    assert [axes.get_ylabel() for axes in (top, middle, bottom)] == ["expert", "model", "probability"]
    assert {line.get_ydata()[0] for line in top.lines} == {-3}  # N2, the fourth from the top
    assert len(middle.lines) == len(draw_night(night).axes[0].lines)
    assert "kappa" in top.get_title(loc="right")


def test_the_probabilities_fill_the_scored_epochs_and_leave_gaps(night: NightResult, tmp_path) -> None:
    figure = draw_night(night)
    _, bottom = figure.axes
    bottom.set_position([0, 0, 1, 1])
    bottom.set_axis_off()
    figure.axes[0].remove()
    figure.set_layout_engine("none")
    for text in figure.texts:
        text.remove()
    figure.set_size_inches(len(night.span) / 10, 2)
    figure.savefig(tmp_path / "density.png", dpi=100)
    row = imread(tmp_path / "density.png")[100, 5::10, :3]
    is_drawn = (row < 0.99).any(axis=1)
    assert is_drawn.tolist() == [epoch in set(night.epoch_idx) for epoch in night.span]


@pytest.mark.parametrize(("start", "first", "name"), [("", "0:05", "hours since"), ("x", "22:20", "time of day")])
def test_time_is_the_clocks_where_the_start_is_known(start: str, first: str, name: str, night: NightResult) -> None:
    known = night.recording.start if start else ""
    figure = draw_night(replace(night, recording=replace(night.recording, start=known)))
    figure.draw_without_rendering()
    bottom = figure.axes[1]
    low, high = bottom.get_xlim()
    shown = [
        label.get_text()
        for label, at in zip(bottom.get_xticklabels(), bottom.get_xticks(), strict=True)
        if low <= at <= high
    ]
    assert shown[0] == first
    assert name in bottom.get_xlabel()


@pytest.mark.parametrize("name", ["rodent", "aasm_movement"])
def test_every_stage_of_a_label_set_has_a_colour_of_its_own(name: str, night: NightResult) -> None:
    stages = LABEL_SETS[name].sleep_stages
    sleep_stages = tuple(stages[idx % len(stages)] for idx in range(40))
    values = np.full((40, len(stages)), 1 / len(stages), dtype=np.float32)
    other = replace(night, label_set=LABEL_SETS[name], sleep_stages=sleep_stages, probabilities_EK=values)
    _, bottom = draw_night(other).axes
    colours = {matplotlib.colors.to_hex(patch.get_facecolor()[0]) for patch in bottom.collections}
    assert len(colours) == len(stages)


def test_the_file_is_a_png(night: NightResult, tmp_path) -> None:
    write_figure(night, tmp_path / "hypnogram.png")
    height, width, _ = imread(tmp_path / "hypnogram.png").shape
    assert (width, height) == (1650, 690)
