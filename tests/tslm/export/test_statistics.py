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


def test_the_example_of_yasas_documentation_has_its_figures() -> None:
    codes = [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 2, 3, 3, 4, 4, 4, 4, 0, 0]
    measured = measure_yasa_statistics(Hypnogram(tuple(HUMAN[code] for code in codes)), LABEL_SETS["aasm"])
    expected = {
        "TIB": 10.0,
        "SPT": 8.0,
        "WASO": 0.0,
        "TST": 8.0,
        "N1": 1.5,
        "N2": 2.0,
        "N3": 2.5,
        "REM": 2.0,
        "SOL": 1.0,
    }
    expected |= {"Lat_N1": 1.0, "Lat_N2": 2.5, "Lat_N3": 4.0, "Lat_REM": 7.0, "SE": 80.0, "SME": 100.0}
    expected |= {"%N1": 18.75, "%N2": 25.0, "%N3": 31.25, "%REM": 25.0}
    assert expected.items() <= measured.items()


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
