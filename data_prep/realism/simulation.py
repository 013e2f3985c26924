"""Let YASA, which never saw the simulator, stage simulated nights, and hold it against their true hypnograms.

Example:
    python -m data_prep.realism.simulation --num_nights 10 --seed 1234
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from data_prep.simulators.human.night import CHANNEL, simulate_human_night
from tslm.baselines.yasa import stage_with_yasa
from tslm.command import run_command
from tslm.labels import LABEL_SETS, SleepStage
from tslm.scoring.metrics import compute_metrics

# Below, the simulation is unlike real sleep; above, it is easier than real sleep.
WANTED_KAPPA = (0.75, 0.90)
WANTED_F1 = dict.fromkeys(LABEL_SETS["aasm"].sleep_stages, 0.60) | {SleepStage.N1: 0.35}
_EXAMPLE = "example: python -m data_prep.realism.simulation --num_nights 10 --seed 1234"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the judgement; 0 done, 1 YASA is missing, 2 a mistake in the call."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.realism.simulation",
        description="Let YASA stage simulated human nights and compare it with the truth.",
        epilog=_EXAMPLE,
    )
    parser.add_argument("--num_nights", type=int, default=10, help="nights to simulate (default 10)")
    parser.add_argument("--seed", type=int, required=True, help="seed of the cohort; take one never looked at")
    arguments = parser.parse_args(argv)
    return run_command(lambda: render_judgement(judge_simulation(arguments.num_nights, arguments.seed)))


def judge_simulation(num_nights: int, seed: int) -> dict[str, Any]:
    """Metrics of YASA on the epochs of all nights together, as `compute_metrics` gives them.

    Epochs whose true label is no stage (movement) are left out.

    Raises:
        ImportError: YASA is not installed.
        ValueError: No night, or a negative seed.
    """
    if num_nights < 1:
        raise ValueError(f"--num_nights {num_nights}: wanted 1 or more")
    labels = LABEL_SETS["aasm"].sleep_stages
    pairs: list[tuple[SleepStage, SleepStage]] = []
    for subject_idx in tqdm(range(num_nights), desc="judge", unit="night"):
        night = simulate_human_night(seed, subject_idx)
        staged = stage_with_yasa(night, CHANNEL)
        pairs += [pair for pair in zip(night.sleep_stages, staged, strict=True) if pair[0] in labels]
    truth, predicted = zip(*pairs, strict=True)
    return compute_metrics(truth, predicted, labels)


def render_judgement(metrics: dict[str, Any]) -> str:
    """One line a figure: what was measured, what was wanted, whether it is met."""
    low, high = WANTED_KAPPA
    kappa = metrics["cohen_kappa"]
    lines = [f"{metrics['num_samples']} epochs", _line("Cohen's kappa", kappa, f"{low:.2f}-{high:.2f}", low, high)]
    for stage, least in WANTED_F1.items():
        f1 = metrics["per_class_f1"][stage]
        lines.append(_line(f"F1 {stage.value} (n={metrics['support'][stage]})", f1, f">= {least:.2f}", least, 1.0))
    return "\n".join(lines)


def _line(name: str, value: float | None, wanted: str, low: float, high: float) -> str:
    if value is None:
        return f"{name:24}{'none':>8}"
    return f"{name:24}{value:8.3f}   wanted {wanted:10} {'met' if low <= value <= high else 'MISSED'}"


if __name__ == "__main__":
    sys.exit(main())
