from dataclasses import replace

import numpy as np
import pytest

from tslm.baselines.yasa import build_yasa_hypnogram
from tslm.export.night import NightResult
from tslm.export.statistics import measure_yasa_statistics, summarise_night
from tslm.files import DISCLAIMER
from tslm.hypnogram import Hypnogram
from tslm.labels import LABEL_SETS, SleepStage

HUMAN = (*LABEL_SETS["aasm_movement"].sleep_stages, SleepStage.UNSCORED)
RODENT = (*LABEL_SETS["rodent"].sleep_stages, SleepStage.UNSCORED)


def draw_hypnogram(stages: tuple[SleepStage, ...], epoch_s: float, seed: int) -> Hypnogram:
    """Bouts of random stages and lengths; wake alone for seed 0."""
    rng = np.random.default_rng(seed)
    drawn: list[SleepStage] = [SleepStage.WAKE] * 5
    while seed and len(drawn) < 120:
        drawn += [stages[rng.integers(len(stages))]] * int(rng.integers(1, 15))
    return Hypnogram(tuple(drawn), epoch_s)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("name", "stages", "epoch_s"), [("aasm", HUMAN, 30.0), ("rodent", RODENT, 4.0)])
def test_statistics_are_those_of_yasa(name: str, stages: tuple[SleepStage, ...], epoch_s: float, seed: int) -> None:
    pytest.importorskip("yasa", reason="needs the extra peers")
    hypnogram = draw_hypnogram(stages, epoch_s, seed)
    if name == "rodent" and SleepStage.NREM not in hypnogram.sleep_stages:
        hypnogram = replace(hypnogram, sleep_stages=(*hypnogram.sleep_stages, SleepStage.NREM))
    expected = build_yasa_hypnogram(hypnogram).sleep_statistics()
    measured = measure_yasa_statistics(hypnogram, LABEL_SETS[name])
    shared = set(expected) - {"ART", "UNS"}
    assert shared <= set(measured)
    for key in shared:
        value = measured[key]
        assert (np.nan if value is None else value) == pytest.approx(float(expected[key]), abs=1e-4, nan_ok=True), key


def test_latencies_count_from_the_start_of_the_hypnogram() -> None:
    stages = tuple(map(SleepStage, ("W", "W", "N1", "N2", "W", "R")))
    measured = measure_yasa_statistics(Hypnogram(stages), LABEL_SETS["aasm"])
    latencies = {name: measured[f"Lat_{name}"] for name in ("N1", "N2", "N3", "REM")}
    assert latencies == {"N1": 1.0, "N2": 1.5, "N3": None, "REM": 2.5}
    assert (measured["SOL"], measured["SOL_5min"]) == (1.0, None)


def test_the_summary_counts_what_was_uncertain_missing_and_smoothed(night: NightResult) -> None:
    before = (SleepStage.N3,) * 40
    smoothed = replace(night, unsmoothed=before, smoothing="median")
    summary = summarise_night(smoothed)
    assert summary["disclaimer"] == DISCLAIMER
    assert summary["artifact_epochs"] == {"motion": 1, "missing": 24}
    assert summary["num_unsure_epochs"] == sum(max(row) < 0.5 for row in night.probabilities_EK.tolist())
    assert summary["num_smoothed_epochs"] == sum(stage is not SleepStage.N3 for stage in night.sleep_stages)
    assert summary["statistics"]["time_in_bed_min"] == summary["yasa"]["TIB"] == 32.0
    assert summarise_night(night)["num_smoothed_epochs"] == 0
