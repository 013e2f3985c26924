"""Measurements of a short ECG (R peaks, rate, regularity, early beats, pauses, R heights), and the words for them.

Questions, rationales, the prompt's line of facts and the checker of rationales (tslm.explain.ecg_claims) use these
words and phrases. A word is None where the measured value is too near its threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from tslm.evidence.series import UnmeasurableError

MIN_BEATS = 3
MIN_SECONDS = 1.0
MIN_FS_HZ = 25.0  # below it the QRS complex is narrower than two samples
SLOW_BPM, FAST_BPM = 60, 100
PAUSE_S = 1.5
R_HEIGHT_PREFIX = "r_height_mv_"  # of a lead's figure in `list_ecg_facts`
EARLY_SHARE = 0.8  # an RR interval under this share of the median ends in an early beat


@dataclass(frozen=True)
class EcgFacts:
    """Measured figures of one record."""

    r_peaks: np.ndarray  # (num_beats,) sample indices
    rr_s: np.ndarray  # (num_beats - 1,) seconds
    rate_bpm: float  # 60 over the mean RR interval
    rr_variation: float  # standard deviation of RR over its mean
    num_early_beats: int
    longest_rr_s: float
    rate_change: float  # rate in the last third of the intervals over that in the first third
    r_heights: np.ndarray  # (num_leads,) median height of the positive peak at the R above the baseline

    @property
    def num_beats(self) -> int:
        """Number of R peaks found."""
        return len(self.r_peaks)

    @property
    def rate_course_bpm(self) -> tuple[float, float]:
        """Rate in the first third of the intervals and in the last."""
        third = max(len(self.rr_s) // 3, 1)
        return float(60.0 / self.rr_s[:third].mean()), float(60.0 / self.rr_s[-third:].mean())


def find_r_peaks(ecg_CL: np.ndarray, fs_hz: float) -> np.ndarray:
    """Sample indices of the R peaks of a record (num_leads, num_samples), any unit.

    After Pan & Tompkins (1985): band-pass 5-20 Hz, squared, averaged over 0.12 s; here summed over
    leads. Peaks stand 0.25 s apart at least and above 0.3 of the median of the ten strongest, and above 1e-4 of the
    strongest, which leaves out the filter's ringing where a record has few beats.
    """
    sos = scipy.signal.butter(2, (5.0, min(20.0, 0.45 * fs_hz)), btype="bandpass", fs=fs_hz, output="sos")
    filtered_CL = scipy.signal.sosfiltfilt(sos, ecg_CL, axis=-1)
    scale_C1 = np.maximum(filtered_CL.std(axis=-1, keepdims=True), 1e-12)
    energy_L = scipy.ndimage.uniform_filter1d(((filtered_CL / scale_C1) ** 2).sum(axis=0), max(round(0.12 * fs_hz), 1))
    refractory = max(round(0.25 * fs_hz), 1)
    peaks, found = scipy.signal.find_peaks(np.pad(energy_L, 1), height=0.0, distance=refractory)
    if not len(peaks):
        return np.zeros(0, dtype=np.int64)
    heights = found["peak_heights"]
    bar = max(0.3 * float(np.median(np.sort(heights)[-10:])), 1e-4 * float(heights.max()))
    beats = peaks[heights >= bar] - 1
    reach = round(0.06 * fs_hz)
    sharp_L = np.abs(filtered_CL / scale_C1).sum(axis=0)
    refined = [
        start + int(sharp_L[start : beat + reach + 1].argmax()) for beat in beats for start in [max(beat - reach, 0)]
    ]
    return np.unique(refined)


def measure_ecg(ecg_CL: np.ndarray, fs_hz: float) -> EcgFacts:
    """Facts of a record (num_leads, num_samples), any unit.

    Raises:
        UnmeasurableError: the record is flat, too short, too coarse, not finite, or has fewer than three beats.
        ValueError: another shape, or an unknown sampling rate (0).
    """
    ecg_CL = np.asarray(ecg_CL, dtype=np.float64)
    if ecg_CL.ndim != 2:
        raise ValueError(f"the ECG has shape {ecg_CL.shape}; wanted (num_leads, num_samples)")
    if not fs_hz > 0:
        raise ValueError(f"the ECG has fs_hz={fs_hz:g}; state its sampling rate")
    if fs_hz < MIN_FS_HZ:
        raise UnmeasurableError(f"{fs_hz:g} samples a second, {MIN_FS_HZ:g} are needed")
    if ecg_CL.shape[1] < MIN_SECONDS * fs_hz:
        raise UnmeasurableError(f"{ecg_CL.shape[1] / fs_hz:.1f} s long, {MIN_SECONDS:g} s is needed")
    if not np.isfinite(ecg_CL).all():
        raise UnmeasurableError("the record holds NaN or infinite values")
    if not np.ptp(ecg_CL, axis=-1).any():
        raise UnmeasurableError("the record is flat")
    r_peaks = find_r_peaks(ecg_CL, fs_hz)
    if len(r_peaks) < MIN_BEATS:
        raise UnmeasurableError(f"{len(r_peaks)} beats found, {MIN_BEATS} are needed")
    rr_s = np.diff(r_peaks) / fs_hz
    third = max(len(rr_s) // 3, 1)
    return EcgFacts(
        r_peaks=r_peaks,
        rr_s=rr_s,
        rate_bpm=float(60.0 / rr_s.mean()),
        rr_variation=float(rr_s.std() / rr_s.mean()),
        num_early_beats=int((rr_s < EARLY_SHARE * np.median(rr_s)).sum()),
        longest_rr_s=float(rr_s.max()),
        rate_change=float(rr_s[:third].mean() / rr_s[-third:].mean()),
        r_heights=_r_heights(ecg_CL, r_peaks, fs_hz),
    )


def _r_heights(ecg_CL: np.ndarray, r_peaks: np.ndarray, fs_hz: float) -> np.ndarray:
    baseline_CL = scipy.ndimage.median_filter(ecg_CL, (1, round(0.6 * fs_hz)), mode="nearest")
    near = np.arange(-round(0.04 * fs_hz), round(0.04 * fs_hz) + 1)
    window_BN = np.clip(r_peaks[:, None] + near, 0, ecg_CL.shape[1] - 1)
    return np.median((ecg_CL - baseline_CL)[:, window_BN].max(axis=-1), axis=-1)


def list_ecg_facts(facts: EcgFacts, leads: Sequence[str]) -> dict[str, float]:
    """The figures of a record by name, as a row of predictions keeps them (`evidence`).

    Args:
        facts: of the record.
        leads: name of each lead in millivolt, for the R heights; empty: none are listed.
    """
    first_bpm, last_bpm = facts.rate_course_bpm
    return {
        "beat_count": float(facts.num_beats),
        "rate_bpm": facts.rate_bpm,
        "rr_variation": facts.rr_variation,
        "rr_median_s": float(np.median(facts.rr_s)),
        "rr_shortest_s": float(facts.rr_s.min()),
        "rr_longest_s": facts.longest_rr_s,
        "early_beat_count": float(facts.num_early_beats),
        "pause_count": float((facts.rr_s > PAUSE_S).sum()),
        "rate_change": facts.rate_change,
        "rate_first_bpm": first_bpm,
        "rate_last_bpm": last_bpm,
        **{f"{R_HEIGHT_PREFIX}{lead}": float(height) for lead, height in zip(leads, facts.r_heights, strict=False)},
    }


def rate_word(rate_bpm: float) -> str | None:
    """Slow, normal, fast: under 60 bpm, to 100, over; None within 2 bpm of either."""
    if min(abs(rate_bpm - SLOW_BPM), abs(rate_bpm - FAST_BPM)) < 2:
        return None
    return "slow" if rate_bpm < SLOW_BPM else "normal" if rate_bpm <= FAST_BPM else "fast"


def regularity_word(rr_variation: float) -> str | None:
    """Regular, irregular: RR intervals vary by 5 % at most, or by 12 % and more."""
    return "regular" if rr_variation <= 0.05 else "irregular" if rr_variation >= 0.12 else None


def early_word(rr_share: float) -> str | None:
    """Whether a beat is early (yes, no), by its RR interval as a share of the median."""
    return None if abs(rr_share - EARLY_SHARE) < 0.04 else "yes" if rr_share < EARLY_SHARE else "no"


def pause_word(rr_s: float) -> str | None:
    """Whether an RR interval is a pause of more than 1.5 s (yes, no); None within 0.06 s of it."""
    return None if abs(rr_s - PAUSE_S) < 0.06 else "yes" if rr_s > PAUSE_S else "no"


def course_word(rate_change: float) -> str | None:
    """Faster, slower, steady: the rate changes by 12 % and more from the first third to the last, or by 4 % at most."""
    if rate_change >= 1.12 or rate_change <= 1 / 1.12:
        return "faster" if rate_change > 1 else "slower"
    return "steady" if abs(rate_change - 1) <= 0.04 else None


_COURSE_VERBS = {"faster": "rises", "slower": "falls", "steady": "holds", None: "goes"}


def phrase_ecg(facts: EcgFacts, leads: Sequence[str]) -> dict[str, str]:
    """Phrases of a record's facts by name, in the order in which rationales cite them.

    Args:
        facts: of the record.
        leads: name of each lead in millivolt; empty: R waves are left out.
    """
    first_bpm, last_bpm = facts.rate_course_bpm
    course = course_word(facts.rate_change)
    early = early_word(float(facts.rr_s.min() / np.median(facts.rr_s)))
    tallest = int(facts.r_heights.argmax())
    phrases = {
        "beats": f"{facts.num_beats} beats",
        "intervals": f"RR intervals run from {facts.rr_s.min():.2f} to {facts.longest_rr_s:.2f} s",
        "variation": f"vary by {round(100 * facts.rr_variation)}%",
        "median": f"median {np.median(facts.rr_s):.2f} s",
        "early": {"yes": "shortest far below", "no": "shortest not far below", None: ""}[early],
        "rate": f"mean rate is {round(facts.rate_bpm)} bpm",
        "course": f"{_COURSE_VERBS[course]} from {round(first_bpm)} to {round(last_bpm)}",
        "r_wave": f"R wave {phrase_r_height(facts, leads, tallest)}" if leads else "",
    }
    return {name: phrase for name, phrase in phrases.items() if phrase}


def phrase_r_height(facts: EcgFacts, leads: Sequence[str], lead_idx: int) -> str:
    """Height of the R wave in one lead, in millivolt."""
    return f"{facts.r_heights[lead_idx]:.1f} mV in lead {leads[lead_idx]}"


def render_ecg_facts(facts: EcgFacts, leads: Sequence[str]) -> str:
    """The phrases of a record's facts (`phrase_ecg`) in one line."""
    return ", ".join(phrase_ecg(facts, leads).values())
