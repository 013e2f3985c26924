"""Measure speed, realism, faithfulness and memory of data preparation against their targets.

Example:
    python -m data_prep.realism.bench --raw_dir raw/sleep-edf
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from threadpoolctl import threadpool_limits

from data_prep.cohorts.cohort import CohortOptions, prepare_cohort, prepare_night
from data_prep.rationales.compose import add_rationales
from data_prep.simulators.human.night import CHANNEL, simulate_human_night
from tslm.baselines.yasa import stage_with_yasa
from tslm.command import Row
from tslm.data.cohorts.cohort import load_cohort
from tslm.data.prepared.recordings import Recording
from tslm.evidence.measure import EVIDENCE_COLUMNS, measure_evidence
from tslm.explain.faithfulness import check_rationale, score_faithfulness
from tslm.labels import LABEL_SETS, SleepStage
from tslm.scoring.metrics import compute_metrics

NIGHT_FILE = "SC4001E0-PSG.edf"
# Agreement of YASA, which was not trained on simulations, with the hypnograms. Below this range, the simulation is
# unlike real sleep; above it, it is easier.
KAPPA_RANGE = (0.75, 0.90)
LEAST_F1 = dict.fromkeys(LABEL_SETS["aasm"].sleep_stages, 0.60) | {SleepStage.N1: 0.35}
_MEMORY_NIGHTS = 20
_SAMPLE_EVERY_S = 0.05
_EXAMPLE = "example: python -m data_prep.realism.bench --raw_dir raw/sleep-edf"


@dataclass(frozen=True)
class BenchOptions:
    """Options of the command."""

    raw_dir: Path
    num_nights: int
    seed: int
    repeats: int


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table. Exit code: 0 done, even if targets are missed, 1 a part failed, 2 a mistake in the call."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.realism.bench",
        description="Measure data preparation against its targets.",
        epilog=_EXAMPLE,
    )
    parser.add_argument("--raw_dir", type=Path, default=Path("raw/sleep-edf"), help=f"folder of {NIGHT_FILE}")
    parser.add_argument("--num_nights", type=int, default=10, help="simulated nights to judge (default 10)")
    parser.add_argument("--seed", type=int, default=404, help="seed of the simulated nights (default 404)")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions, of which the fastest counts (default 3)")
    options = BenchOptions(**vars(parser.parse_args(argv)))
    if min(options.num_nights, options.repeats) < 1 or options.seed < 0:
        print("error: --num_nights and --repeats must be 1 or more, --seed 0 or more", file=sys.stderr)
        return 2
    try:
        with threadpool_limits(1):
            for measure in MEASUREMENTS:
                for row in measure(options):
                    print(row, flush=True)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def measure_preparation(options: BenchOptions) -> Iterator[Row]:
    """Seconds from the EDF files of one real night (22 h, 7 channels) to prepared parquet, by the cohort's YAML."""
    name = "SC4001 (22 h) EDF to prepared parquet, one core"
    if not any(options.raw_dir.rglob(NIGHT_FILE)):
        note = f"no {NIGHT_FILE} in {options.raw_dir}; python -m data_prep.download sleep-edf --out {options.raw_dir}"
        yield Row(name, None, note=note)
        return
    config = load_cohort("sleep_edf")
    config = replace(config, signals=replace(config.signals, files=(f"**/{NIGHT_FILE}",)))
    with tempfile.TemporaryDirectory() as folder:
        run = CohortOptions(raw_dir=options.raw_dir, split="test")
        yield Row(name, _best_s(options, lambda: prepare_cohort(config, run, Path(folder))), "s", most=4.0)


def measure_speed(options: BenchOptions) -> Iterator[Row]:
    """Milliseconds per epoch to measure evidence, and simulated epochs per second."""
    night = simulate_human_night(options.seed, 0)
    signal = night.signals[CHANNEL]
    epochs_EL = signal.values.reshape(len(night.sleep_stages), -1)
    evidence_s = _best_s(options, lambda: measure_evidence(epochs_EL, signal.fs_hz))
    yield Row("evidence, one core", 1000 * evidence_s / len(epochs_EL), "ms/epoch", most=2.0)
    simulation_s = _best_s(options, lambda: simulate_human_night(options.seed, 0))
    yield Row("simulated human night, one core", len(epochs_EL) / simulation_s, "epochs/s", least=300.0)


def measure_realism(options: BenchOptions) -> Iterator[Row]:
    """YASA's agreement with the true hypnograms of simulated nights."""
    name = f"YASA on {options.num_nights} simulated nights, seed {options.seed}:"
    try:
        metrics = judge_simulation(options.num_nights, options.seed)
    except ImportError as error:
        yield Row(f"{name} kappa", None, note=str(error))
        return
    yield Row(f"{name} kappa", metrics["cohen_kappa"], "", *KAPPA_RANGE)
    for sleep_stage, least in LEAST_F1.items():
        yield Row(f"{name} F1 {sleep_stage.value}", metrics["per_class_f1"][sleep_stage], "", least)


def judge_simulation(num_nights: int, seed: int) -> dict[str, Any]:
    """Metrics of YASA on the pooled scored epochs of all nights. ImportError if YASA is not installed."""
    labels = LABEL_SETS["aasm"].sleep_stages
    pairs: list[tuple[SleepStage, SleepStage]] = []
    for subject_idx in range(num_nights):
        night = simulate_human_night(seed, subject_idx)
        staged = stage_with_yasa(night, CHANNEL)
        pairs += [pair for pair in zip(night.sleep_stages, staged, strict=True) if pair[0] in labels]
    truth, predicted = zip(*pairs, strict=True)
    return compute_metrics(truth, predicted, labels)


def measure_faithfulness(options: BenchOptions) -> Iterator[Row]:
    """Milliseconds to check a rationale, and the share of confirmed claims in those of simulated nights."""
    nights = [_prepare(options.seed, idx) for idx in range(options.num_nights)]
    texts, rows, truth = zip(*[sample for night in nights for sample in _list_rationales(night)], strict=True)
    check_s = _best_s(options, lambda: [check_rationale(*pair) for pair in zip(texts, rows, strict=True)])
    yield Row("rationale read and checked, one core", 1000 * check_s / len(texts), "ms", most=1.0)
    scores = score_faithfulness(texts, rows, truth, truth, resampling=None)
    share = scores["num_supported"] / scores["num_claims"]
    note = f"{scores['num_claims']} claims, {scores['num_contradicted']} contradicted"
    yield Row("claims of our rationales confirmed", share, "", 1.0, note=note)


def measure_memory(_options: BenchOptions) -> Iterator[Row]:
    """Peak resident memory of all processes while simulated nights are prepared."""
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "data_prep.prepare", "sim_human", "--out", folder]
            command += ["--workers", str(workers), f"num_subjects={_MEMORY_NIGHTS}"]
            peak_gib = _watch_memory(command) / 2**30
        yield Row(f"peak memory, {_MEMORY_NIGHTS} nights, --workers {workers}", peak_gib, "GiB", most=2.0)


MEASUREMENTS: tuple[Callable[[BenchOptions], Iterator[Row]], ...] = (
    measure_preparation,
    measure_speed,
    measure_realism,
    measure_faithfulness,
    measure_memory,
)


def _prepare(seed: int, subject_idx: int) -> Recording:
    return add_rationales(prepare_night(simulate_human_night(seed, subject_idx)), seed)


def _list_rationales(night: Recording) -> Iterator[tuple[str, dict[str, float], str]]:
    for idx, sleep_stage in enumerate(night.sleep_stages):
        if sleep_stage in LABEL_SETS["aasm"].sleep_stages:
            row = {name: float(night.columns[name][idx]) for name in EVIDENCE_COLUMNS}
            yield str(night.columns["rationale"][idx]), row, sleep_stage


def _best_s(options: BenchOptions, run: Callable[[], object]) -> float:
    """Least seconds of processor time, which other processes influence less than wall time."""
    seconds = []
    for _ in range(options.repeats):
        started = time.process_time()
        run()
        seconds.append(time.process_time() - started)
    return min(seconds)


def _watch_memory(command: Sequence[str]) -> int:
    """Largest sum of resident bytes of a command and its children, sampled 20 times a second."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        watched, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            peak = max(peak, sum(_resident(one) for one in [watched, *_children(watched)]))
            time.sleep(_SAMPLE_EVERY_S)
        errors.seek(0)
        if process.returncode:
            last = (errors.read().strip().splitlines() or ["no message"])[-1]
            raise OSError(f"{' '.join(command)} ended with {process.returncode}: {last}")
    return peak


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


if __name__ == "__main__":
    sys.exit(main())
