import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.experiments import main
from evaluation.grids.plots import draw_hypnograms
from evaluation.grids.report import _find_edges
from tests.evaluation.grids.test_experiments import write_grid
from tests.factories.small import LAUNCH, small_recording
from tslm.data.prepared.recordings import write_participants, write_recording
from tslm.labels import SleepStage
from tslm.scoring.metrics import compute_metrics
from tslm.training.runs.manifest import RunManifest, write_manifest

W, NREM, REM = SleepStage.WAKE, SleepStage.NREM, SleepStage.REM


def write_mice(folder: Path) -> None:
    stages = (W,) * 9 + (NREM,) * 8 + (REM,) * 3
    rows = []
    for number in range(3):
        mouse = replace(
            small_recording(f"n{number}", sleep_stages=stages, subject=f"mouse{number}"),
            species="mouse",
            source="sim_rodent",
        )
        rows.append(write_recording(mouse, folder, "test"))
    write_participants(rows, folder)


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    write_mice(tmp_path / "cohort")
    return write_grid(tmp_path, settings=[f"stage.train_dir={tmp_path}/cohort", "model.label_set=rodent"])


def test_a_report_has_every_section_from_the_runs_own_files(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["run", str(grid)]) == 0
    for path in (tmp_path / "results").rglob("metrics.json"):  # as train.py leaves it beside the results
        write_manifest(RunManifest(0, (LAUNCH,), {}), path.parents[1])
    out = tmp_path / "report"
    assert main(["report", str(grid), "--out", str(out), "--num_resamples", "50"]) == 0
    assert str(out / "index.md") in capsys.readouterr().out
    text = (out / "index.md").read_text(encoding="utf-8")
    wanted = ["Data", "Protocol", "Metrics", "Ablations", "The best row, by animal", "Failure modes"]
    assert [name for name in re.findall(r"^## (.+)$", text, re.M) if name in wanted] == wanted
    assert "**3 of 3 recordings are simulated.**" in text and "12 of 12 runs have finished." in text
    assert "| epochs | 60: W 45.0%, NREM 40.0%, R 15.0%; unscored 0.0% |" in text
    # The fake runs' kappa rises by the label smoothing alone.
    assert "| loss | smooth less plain | +0.100 [+0.100, +0.100] |" in text
    assert "| context | epochs7 less alone | +0.000 [+0.000, +0.000] |" in text
    assert "bootstrap resamples of 3 subjects" in text
    assert "Machine: a processor, 4 CPUs; commit 0c70bedfacade." in text
    assert "python -m evaluation.experiments report" in text
    for name in ("kappa.svg", "hypnogram.svg"):
        assert f"({name})" in text
        ET.parse(out / name)


def test_the_best_row_is_scored_from_its_pooled_predictions(grid: Path, tmp_path: Path) -> None:
    assert main(["run", str(grid), "fold=0,1"]) == 0
    assert main(["report", str(grid), "--num_resamples", "50"]) == 0
    (report,) = (tmp_path / "results").rglob("report/index.md")
    text = report.read_text(encoding="utf-8")
    assert "8 of 12 runs have finished. Rows whose runs are missing" in text
    truth, answer = ["NREM sleep"] * 20, ["NREM sleep"] * 9 + ["REM sleep"] + ["NREM sleep"] * 10
    accuracy = compute_metrics(truth * 2, answer * 2, ["Wake", "NREM sleep", "REM sleep"])["accuracy"]
    assert f"| accuracy | {accuracy:.3f} [" in text
    assert "| NREM sleep | 0 | 38 | 2 | 0 |" in text
    assert "- within a bout: 2 of 40 epochs wrong (5.0%)" in text


def test_a_grid_without_a_finished_run_is_refused(grid: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", str(grid)]) == 2
    assert "no run of grid has finished" in capsys.readouterr().err


def test_epochs_beside_a_transition_are_those_of_one_recording() -> None:
    rows: list[Any] = [{"recording": name} for name in "aaabb"]
    assert _find_edges(rows, ["W", "W", "R", "W", "W"]) == [False, True, True, False, False]


def test_a_hypnogram_has_two_points_an_epoch_and_skips_what_has_no_level() -> None:
    drawn = draw_hypnograms({"a <b>": ["W", None, "R"]}, ["W", "R"])
    root = ET.fromstring(drawn)
    (line,) = root.iter("{http://www.w3.org/2000/svg}polyline")
    points = np.array([point.split(",") for point in line.attrib["points"].split()], dtype=float)
    assert points.shape == (4, 2) and points[0, 1] < points[-1, 1]
    assert "a <b>" in {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
