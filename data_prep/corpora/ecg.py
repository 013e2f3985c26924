"""Curriculum stage 3: questions about a 10-s ECG, with rationales written from its measured R peaks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from data_prep.corpora.build import QuestionFamily, draw_question
from data_prep.simulators.ecg import FS_HZ, LEADS, draw_rhythm, simulate_ecg
from tslm.data.prepared.corpora import CorpusSample
from tslm.evidence.ecg import EARLY_SHARE, EcgFacts, measure_ecg
from tslm.seeds import hash_seed

_PAUSE_S = 1.5
_MIN_BEATS_TO_ASK = 5


@dataclass(frozen=True)
class EcgRecord:
    """An ECG and its measured facts."""

    leads: tuple[str, ...]
    ecg_CL: np.ndarray  # (num_leads, num_samples) float32, millivolt
    facts: EcgFacts


def build_samples(num_samples: int, seed: int, num_leads: int = 2) -> Iterator[CorpusSample]:
    """Questions about simulated ECGs, of randomly drawn families.

    Args:
        num_samples: Number of questions.
        seed: The same seed gives the same samples.
        num_leads: Number of leads, 1 to 12, of 1,000 samples each; lead II is the first.

    Raises:
        ValueError: `num_leads` is out of range.
    """
    if not 1 <= num_leads <= len(LEADS):
        raise ValueError(f"num_leads is {num_leads}; give 1 to {len(LEADS)}")
    leads = tuple(LEADS)[:num_leads]
    families = FAMILIES if num_leads > 1 else tuple(family for family in FAMILIES if family.name != "tallest")
    for idx in range(num_samples):
        rng = np.random.default_rng(hash_seed(seed, idx))
        family, record, answer = draw_question(families, rng, partial(_draw, rng, leads))
        yield _build_sample(f"ecg-{seed}-{idx}-{family.name}", family, record, answer, rng)


def _draw(rng: np.random.Generator, leads: tuple[str, ...], _family: QuestionFamily) -> EcgRecord | None:
    ecg_CL = simulate_ecg(draw_rhythm(rng), leads, rng)
    record = EcgRecord(leads, ecg_CL, measure_ecg(ecg_CL, FS_HZ))
    return record if record.facts.num_beats >= _MIN_BEATS_TO_ASK else None


def _build_sample(
    sample_id: str, family: QuestionFamily, record: EcgRecord, answer: str, rng: np.random.Generator
) -> CorpusSample:
    assert family.explain is not None
    options = family.answers or _RECORD_OPTIONS[family.name](record, rng)
    return CorpusSample(
        sample_id=sample_id,
        question=family.questions[rng.integers(len(family.questions))],
        options=tuple(options[idx] for idx in rng.permutation(len(options))),
        series=tuple(record.ecg_CL),
        series_names=tuple(f"Lead {lead}, {FS_HZ:g} Hz" for lead in record.leads),
        unit="mV",
        rationale=family.explain(record, answer),
        answer=answer,
    )


def _rate_class(record: EcgRecord) -> str | None:
    rate_bpm = record.facts.rate_bpm
    if min(abs(rate_bpm - 60), abs(rate_bpm - 100)) < 2:
        return None
    return "slow" if rate_bpm < 60 else "normal" if rate_bpm <= 100 else "fast"


def _explain_rate(record: EcgRecord, answer: str) -> str:
    where = {"slow": "under 60", "normal": "between 60 and 100", "fast": "over 100"}[answer]
    return f"{_beats(record)} The mean rate is {round(record.facts.rate_bpm)} bpm, {where}."


def _regularity(record: EcgRecord) -> str | None:
    variation = record.facts.rr_variation
    return "regular" if variation <= 0.05 else "irregular" if variation >= 0.12 else None


def _explain_regularity(record: EcgRecord, answer: str) -> str:
    percent = round(100 * record.facts.rr_variation)
    spread = "which is even" if answer == "regular" else "which is uneven"
    return f"{_beats(record)} {_intervals(record)} They vary by {percent}%, {spread}."


def _early(record: EcgRecord) -> str | None:
    shares = record.facts.rr_s / np.median(record.facts.rr_s)
    if (np.abs(shares - EARLY_SHARE) < 0.04).any():
        return None
    return "yes" if record.facts.num_early_beats else "no"


def _explain_early(record: EcgRecord, answer: str) -> str:
    facts = record.facts
    median_s = float(np.median(facts.rr_s))
    far = "far" if answer == "yes" else "not far"
    intervals = f"The median RR interval is {median_s:.2f} s, the shortest {facts.rr_s.min():.2f} s"
    return f"{_beats(record)} {intervals}, {far} below."


def _pause(record: EcgRecord) -> str | None:
    longest_s = record.facts.longest_rr_s
    return None if abs(longest_s - _PAUSE_S) < 0.06 else "yes" if longest_s > _PAUSE_S else "no"


def _explain_pause(record: EcgRecord, answer: str) -> str:
    than = "more" if answer == "yes" else "less"
    return f"{_beats(record)} The longest RR interval is {record.facts.longest_rr_s:.2f} s, {than} than {_PAUSE_S:g} s."


def _course(record: EcgRecord) -> str | None:
    change = record.facts.rate_change
    if change >= 1.12 or change <= 1 / 1.12:
        return "faster" if change > 1 else "slower"
    return "steady" if abs(change - 1) <= 0.04 else None


def _explain_course(record: EcgRecord, answer: str) -> str:
    rr_s = record.facts.rr_s
    third = max(len(rr_s) // 3, 1)
    first, last = round(60 / rr_s[:third].mean()), round(60 / rr_s[-third:].mean())
    verb = {"faster": "rises", "slower": "falls", "steady": "holds"}[answer]
    return f"{_beats(record)} The rate {verb} from {first} to {last} bpm."


def _count(record: EcgRecord) -> str | None:
    return f"{record.facts.num_beats}"


def _explain_count(record: EcgRecord, _answer: str) -> str:
    return f"{_intervals(record)} The mean rate is {round(record.facts.rate_bpm)} bpm."


def _count_options(record: EcgRecord, rng: np.random.Generator) -> tuple[str, ...]:
    num_beats = record.facts.num_beats
    step = max(round(0.25 * num_beats), 2)
    lowest = num_beats - step * int(rng.integers(0, 4 if num_beats > 3 * step else 2))
    return tuple(str(lowest + step * idx) for idx in range(4))


def _tallest(record: EcgRecord) -> str | None:
    heights = record.facts.r_heights
    ordered = np.sort(heights)
    return f"lead {record.leads[int(heights.argmax())]}" if ordered[-1] >= 1.2 * max(ordered[-2], 0.05) else None


def _explain_tallest(record: EcgRecord, _answer: str) -> str:
    order = np.argsort(-record.facts.r_heights)[:2]
    listed = " and ".join(f"{record.facts.r_heights[idx]:.1f} mV in lead {record.leads[idx]}" for idx in order)
    return f"The R wave reaches {listed}."


def _tallest_options(record: EcgRecord, _rng: np.random.Generator) -> tuple[str, ...]:
    return tuple(f"lead {lead}" for lead in record.leads)


def _beats(record: EcgRecord) -> str:
    return f"{record.facts.num_beats} beats."


def _intervals(record: EcgRecord) -> str:
    return f"RR intervals run from {record.facts.rr_s.min():.2f} to {record.facts.rr_s.max():.2f} s."


_RECORD_OPTIONS: dict[str, Callable[[EcgRecord, np.random.Generator], tuple[str, ...]]] = {
    "count": _count_options,
    "tallest": _tallest_options,
}
FAMILIES: tuple[QuestionFamily, ...] = (
    QuestionFamily(
        "rate",
        ("Is the heart rate slow, normal or fast?", "Which class does the heart rate belong to?"),
        ("slow", "normal", "fast"),
        _rate_class,
        _explain_rate,
    ),
    QuestionFamily(
        "regularity",
        ("Is the rhythm regular or irregular?", "How even are the intervals between beats?"),
        ("regular", "irregular"),
        _regularity,
        _explain_regularity,
    ),
    QuestionFamily(
        "early",
        ("Is any beat early by more than a fifth of the usual interval?", "Are there early beats?"),
        ("yes", "no"),
        _early,
        _explain_early,
    ),
    QuestionFamily(
        "pause",
        ("Is there a pause of more than 1.5 seconds between beats?",),
        ("yes", "no"),
        _pause,
        _explain_pause,
    ),
    QuestionFamily(
        "course",
        ("Does the heart rate change over the record?",),
        ("faster", "slower", "steady"),
        _course,
        _explain_course,
    ),
    QuestionFamily("count", ("How many beats does the record show?",), (), _count, _explain_count),
    QuestionFamily("tallest", ("Which lead has the tallest R wave?",), (), _tallest, _explain_tallest),
)
