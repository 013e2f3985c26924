"""Fit the calibration table of simulated nights to band powers or to a prepared cohort.

Example:
    python -m data_prep.realism.fit_calibration --band_powers $TSLM_DATA_DIR/sleep_edf_bandpower --leave_out SC400 \
        --out data_prep/simulators/human/calibration.json
    python -m data_prep.realism.fit_calibration --band_powers $TSLM_DATA_DIR/sleep_edf_bandpower --leave_out SC400 \
        --channel_idx 1 --out data_prep/simulators/human/posterior.json
    python -m data_prep.realism.fit_calibration --data prepared/cassette --out my_calibration.json

The first two commands reproduce the tables of the repository exactly: Fpz-Cz and Pz-Oz. The simulator reads them;
replace them to calibrate to another cohort.

Shape letters: E epochs, R recordings, K sleep stages.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy

from data_prep.cohorts.cohort import find_sleep_span
from data_prep.simulators.human.calibration import BANDS_HZ, NUM_FEATURES
from data_prep.simulators.human.hypnogram import HUMAN_STAGES
from tslm.command import run_command
from tslm.data.prepared.recordings import read_participants, read_recording
from tslm.files import write_beside
from tslm.labels import SleepStage

_WIDTHS_HZ = np.array([high - low for low, high in BANDS_HZ.values()])
_PERIODOGRAM_S = 2.56  # 256 samples at 100 Hz, as the published band powers
_WAKE_MARGIN_EPOCHS = 60
_LEAST_BELOW = 0.05  # least share of the variance below delta, if the bands sum to more than the variance
_SHRINK = 0.9  # factor on covariances, which are too large with so few subjects
_DIGITS = 5


@dataclass(frozen=True)
class ScoredFeatures:
    """Features (as in `data_prep.simulators.human.calibration`) and sleep stages of one recording."""

    recording: str
    subject: str
    features_E6: np.ndarray
    sleep_stage_E: np.ndarray  # position in HUMAN_STAGES, -1 for anything else


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table. Exit code: 0 done, 1 a file cannot be read or written, 2 a mistake in the call or the data."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.realism.fit_calibration",
        description="Refit the calibration of the human simulator.",
        epilog="example: python -m data_prep.realism.fit_calibration --data prepared/cassette --out calibration.json",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--band_powers", type=Path, metavar="DIR", help="folder of .npz files of published band powers")
    source.add_argument("--data", type=Path, metavar="DIR", help="a prepared cohort; its first channel is used")
    parser.add_argument("--leave_out", nargs="*", default=[], metavar="SUBJECT", help="subjects to leave out")
    parser.add_argument("--channel_idx", type=int, default=0, help="channel of the band powers (default 0)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON file to write")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _fit(arguments))


def _fit(arguments: argparse.Namespace) -> str:
    left_out = tuple(arguments.leave_out)
    if arguments.data is not None:
        nights = measure_cohort(arguments.data, left_out)
    else:
        nights = read_band_powers(arguments.band_powers, left_out, arguments.channel_idx)
    table = fit_calibration(nights)
    subjects = {night.subject for night in nights}
    where = (arguments.data or arguments.band_powers).name
    exclusion = f"; {', '.join(left_out)} left out" if left_out else ""
    source_text = f"fitted on {len(nights)} recordings ({len(subjects)} subjects) of {where}{exclusion}"
    write_calibration(table, source_text, arguments.out)
    return f"{arguments.out}: {source_text}"


def fit_calibration(nights: Sequence[ScoredFeatures]) -> dict[str, np.ndarray]:
    """Table as `calibration.load_table` returns it: mu (5, 6), C (30, 30), S (5, 6, 6), rho (5, 6).

    `mu` is the mean over recordings of their sleep stage means; a sleep stage that a recording lacks is set to
    that mean. `C` is the covariance of the recordings' sleep stage means, all but its diagonal times .9.
    `S` is the covariance of the epochs of all recordings about their own recording's sleep stage mean,
    `rho` the regression of such a residual on that of the epoch before, both of one sleep stage.

    Raises:
        ValueError: Fewer than two recordings, or a sleep stage that none of them has.
    """
    if len(nights) < 2:
        raise ValueError(f"{len(nights)} recording(s) with sleep; variances between people need two or more")
    means_RK6 = np.stack([_stage_means(night) for night in nights])
    lacking = [sleep_stage for idx, sleep_stage in enumerate(HUMAN_STAGES) if np.isnan(means_RK6[:, idx]).all()]
    if lacking:
        raise ValueError(f"no recording has an epoch of {', '.join(lacking)}; give more recordings")
    mu = np.nanmean(means_RK6, axis=0)
    deviations = np.nan_to_num(means_RK6 - mu).reshape(len(nights), -1)
    between = deviations.T @ deviations / (len(nights) - 1)
    between *= np.where(np.eye(len(between), dtype=bool), 1.0, _SHRINK)
    within, rho = zip(
        *[_fit_residuals(nights, means_RK6, sleep_stage) for sleep_stage in range(len(HUMAN_STAGES))], strict=True
    )
    return {"mu": mu, "C": between, "S": np.stack(within), "rho": np.stack(rho)}


def read_band_powers(folder: Path, left_out: Sequence[str] = (), channel_idx: int = 0) -> list[ScoredFeatures]:
    """Recordings from .npz files with `<rec>_bandpower_uV2perHz`, `<rec>_variance_uV2` and `<rec>_y` each.

    Band powers are (epochs, channels, 5 bands), labels 0 to 4 for W, N1, N2, N3, R; `channel_idx`
    counts. The subject is the first five characters of the name (Sleep-EDF).

    Raises:
        FileNotFoundError: No .npz file there.
        ValueError: A file lacks one of a recording's arrays.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise FileNotFoundError(f"{folder} holds no .npz file of band powers")
    nights = []
    for path in paths:
        with np.load(path) as arrays:
            for name in sorted(key.removesuffix("_y") for key in arrays.files if key.endswith("_y")):
                if name[:5] in left_out:
                    continue
                missing = [key for key in ("bandpower_uV2perHz", "variance_uV2") if f"{name}_{key}" not in arrays.files]
                if missing:
                    raise ValueError(f"{path} has labels of {name} but no {name}_{missing[0]}")
                powers_E5 = arrays[f"{name}_bandpower_uV2perHz"][:, channel_idx].astype(np.float64)
                variance_E = (
                    arrays[f"{name}_variance_uV2"].astype(np.float64).reshape(len(powers_E5), -1)[:, channel_idx]
                )
                sleep_stage_E = arrays[f"{name}_y"].astype(int)
                nights += _cut_night(name, name[:5], build_features(powers_E5, variance_E), sleep_stage_E)
    return nights


def measure_cohort(cohort_dir: Path, left_out: Sequence[str] = ()) -> list[ScoredFeatures]:
    """The same features measured on the first channel of prepared recordings (Welch, Hann windows of 2.56 s)."""
    nights = []
    for row in read_participants(cohort_dir):
        if row.subject in left_out:
            continue
        night = read_recording(cohort_dir / f"{row.recording}.parquet")
        epochs_EL = next(iter(night.channels.values()))
        freqs_hz, psd_EF = scipy.signal.welch(epochs_EL, night.fs_hz, nperseg=round(_PERIODOGRAM_S * night.fs_hz))
        bands = [(freqs_hz >= low) & (freqs_hz < high) for low, high in BANDS_HZ.values()]
        powers_E5 = np.stack([psd_EF[:, band].mean(axis=1) for band in bands], axis=1).astype(np.float64)
        sleep_stage_E = np.array([HUMAN_STAGES.index(one) if one in HUMAN_STAGES else -1 for one in night.sleep_stages])
        features_E6 = build_features(powers_E5, epochs_EL.var(axis=1, dtype=np.float64))
        nights += _cut_night(row.recording, row.subject, features_E6, sleep_stage_E)
    return nights


def build_features(powers_E5: np.ndarray, variance_E: np.ndarray) -> np.ndarray:
    """(E, 6) ln of the mean density in the bands (microvolt^2 / Hz) and of the power below them (microvolt^2)."""
    below_E = np.maximum(variance_E - powers_E5 @ _WIDTHS_HZ, _LEAST_BELOW * variance_E)
    return np.log(np.maximum(np.column_stack([powers_E5, below_E]), 1e-6))


def write_calibration(table: dict[str, np.ndarray], source: str, path: Path) -> None:
    """Write a table as `calibration.load_table` reads it."""
    content = {
        "features": [*(f"ln_{band}" for band in BANDS_HZ), "ln_below_delta"],
        "stages": list(HUMAN_STAGES),
        "units": "microvolt^2/Hz in the bands, microvolt^2 below them",
        "source": source,
        **{name: np.round(values, _DIGITS).tolist() for name, values in table.items()},
    }
    with write_beside(path) as partial:
        partial.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _cut_night(name: str, subject: str, features_E6: np.ndarray, sleep_stage_E: np.ndarray) -> list[ScoredFeatures]:
    sleep_stages = [HUMAN_STAGES[code] if code >= 0 else SleepStage.UNSCORED for code in sleep_stage_E]
    kept = find_sleep_span(sleep_stages, _WAKE_MARGIN_EPOCHS)
    span = slice(kept.start, kept.stop)
    return [ScoredFeatures(name, subject, features_E6[span], sleep_stage_E[span])] if kept else []


def _stage_means(night: ScoredFeatures) -> np.ndarray:
    """(5, 6), NaN where the recording lacks a sleep stage."""
    masks = [night.sleep_stage_E == sleep_stage for sleep_stage in range(len(HUMAN_STAGES))]
    lacking = np.full(NUM_FEATURES, np.nan)
    return np.stack([night.features_E6[mask].mean(axis=0) if mask.any() else lacking for mask in masks])


def _fit_residuals(
    nights: Sequence[ScoredFeatures], means_RK6: np.ndarray, sleep_stage: int
) -> tuple[np.ndarray, np.ndarray]:
    """Covariance (6, 6) and autocorrelation (6,) of one sleep stage's epochs about their recording's mean."""
    residuals, earlier, later = [], [], []
    for night, mean_6 in zip(nights, means_RK6[:, sleep_stage], strict=True):
        mask = night.sleep_stage_E == sleep_stage
        if mask.any():
            residual_E6 = night.features_E6 - mean_6
            first = np.flatnonzero(mask[:-1] & mask[1:])
            residuals.append(residual_E6[mask])
            earlier.append(residual_E6[first])
            later.append(residual_E6[first + 1])
    all_E6, before_E6, after_E6 = (np.concatenate(parts) for parts in (residuals, earlier, later))
    rho = (before_E6 * after_E6).sum(axis=0) / np.maximum((before_E6**2).sum(axis=0), np.finfo(float).tiny)
    return all_E6.T @ all_E6 / max(len(all_E6) - 1, 1), rho


if __name__ == "__main__":
    sys.exit(main())
