"""Let a scorer of real mice, which never saw the simulator, stage simulated animals, and hold it against the truth.

The peer (misleep or somnus-eeg, both from the package index, weights included) runs in an interpreter of
its own, because misleep brings a window system and unpickles its model, and somnus-eeg asks for Python 3.12.

Example:
    python -m venv peer && peer/bin/pip install 'misleep[analysis]'
    python -m data_prep.realism.rodents --python peer/bin/python --num_animals 6 --seed 1234
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from data_prep.simulators.rodent.day import EEG_CHANNEL, EMG_CHANNEL, simulate_rodent_day
from tslm.command import run_command
from tslm.data.readers.edf.writer import write_edf
from tslm.data.readers.raw import RawRecording
from tslm.labels import LABEL_SETS, SleepStage
from tslm.scoring.metrics import compute_metrics

PEERS = ("misleep", "somnus")
WANTED_KAPPA = 0.80
_WORKER = Path(__file__).with_name("rodents_peer.py")
_STAGES = {"W": SleepStage.WAKE, "N": SleepStage.NREM, "R": SleepStage.REM}
_EXAMPLE = "example: python -m data_prep.realism.rodents --python peer/bin/python --num_animals 6 --seed 1234"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the judgement; 0 done, 1 the peer could not be run, 2 a mistake in the call."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.realism.rodents",
        description="Let misleep or somnus-eeg stage simulated mice and compare them with the truth.",
        epilog=_EXAMPLE,
    )
    parser.add_argument("--peer", choices=PEERS, default=PEERS[0])
    parser.add_argument("--python", default=sys.executable, help="interpreter that has the peer installed")
    parser.add_argument("--num_animals", type=int, default=6)
    parser.add_argument("--hours", type=float, default=24, help="peers scale by the recording: give them whole days")
    parser.add_argument("--fs_hz", type=int, default=500)
    parser.add_argument("--seed", type=int, required=True, help="seed of the cohort; take one never looked at")
    arguments = parser.parse_args(argv)
    return run_command(lambda: render_judgement(judge_rodents(**vars(arguments))))


def judge_rodents(
    peer: str, python: str, num_animals: int, hours: float, fs_hz: int, seed: int
) -> list[tuple[str, dict[str, Any]]]:
    """(name, metrics) of each animal, and of all of them together at the end; unscored epochs are left out.

    Raises:
        ValueError: No animal, or a bad argument of the simulation.
        OSError: The peer failed; the message is its last line.
    """
    if num_animals < 1:
        raise ValueError(f"--num_animals {num_animals}: wanted 1 or more")
    labels = LABEL_SETS["rodent"].sleep_stages
    judged, everything = [], []
    for animal_idx in tqdm(range(num_animals), desc="judge", unit="animal"):
        day = simulate_rodent_day(seed, animal_idx, hours, fs_hz)
        staged = summarise_seconds(stage_with_peer(peer, python, day), int(day.epoch_s))
        pairs = [pair for pair in zip(day.sleep_stages, staged, strict=False) if pair[0] in labels]
        everything += pairs
        judged.append((f"{day.recording} {day.strain}", _measure(pairs)))
    return [*judged, ("all", _measure(everything))]


def stage_with_peer(peer: str, python: str, day: RawRecording) -> str:
    """One letter a second (W, N, R) by the peer, run by its own interpreter; OSError where it fails."""
    signals = {name: day.signals[name] for name in (EEG_CHANNEL, EMG_CHANNEL)}
    eeg, emg = signals.values()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if peer == "somnus":
            bare = replace(day, signals=signals, sleep_stages=())
            write_edf(bare, folder / "signals.edf", folder / "nothing.edf")
        else:
            np.savez(folder / "signals.npz", eeg=eeg.values, emg=emg.values, fs_hz=eeg.fs_hz)
        done = subprocess.run([python, str(_WORKER), peer, name], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise OSError(f"{peer} could not be run by {python}: {lines[-1] if lines else 'no message'}")
    return done.stdout.split()[-1]


def summarise_seconds(seconds: str, epoch_s: int) -> list[SleepStage]:
    """Stage of each epoch from its seconds: the most frequent one."""
    whole = [seconds[start : start + epoch_s] for start in range(0, len(seconds) - epoch_s + 1, epoch_s)]
    return [_STAGES[max(_STAGES, key=epoch.count)] for epoch in whole]


def render_judgement(judged: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """One line an animal, and whether kappa over all of them is what was wanted."""
    lines = []
    for name, metrics in judged:
        f1 = ", ".join(f"{stage} {value:.3f}" for stage, value in metrics["per_class_f1"].items() if value is not None)
        lines.append(f"{name:24} kappa {metrics['cohen_kappa']:.3f}; F1 {f1}; {metrics['num_samples']} epochs")
    is_met = judged[-1][1]["cohen_kappa"] >= WANTED_KAPPA
    return "\n".join([*lines, f"wanted kappa >= {WANTED_KAPPA:.2f}: {'met' if is_met else 'MISSED'}"])


def _measure(pairs: Sequence[tuple[SleepStage, SleepStage]]) -> dict[str, Any]:
    truth, staged = zip(*pairs, strict=True)
    return compute_metrics(truth, staged, LABEL_SETS["rodent"].sleep_stages)


if __name__ == "__main__":
    sys.exit(main())
