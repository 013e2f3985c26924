"""Curriculum stage 3: questions about a 10-s ECG, with rationales written from its measured R peaks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from data_prep.corpora.build import QuestionFamily, draw_question
from data_prep.simulators.ecg import FS_HZ, LEADS, draw_rhythm, simulate_ecg
from tslm.data.prepared.corpora import CorpusSample, render_lead
from tslm.evidence import ecg
from tslm.evidence.ecg import FAST_BPM, PAUSE_S, SLOW_BPM, EcgFacts, measure_ecg
from tslm.seeds import hash_seed

_MIN_BEATS_TO_ASK = 5


@dataclass(frozen=True)
class EcgRecord:
    """An ECG and its measured facts."""

    leads: tuple[str, ...]
    ecg_CL: np.ndarray  # (num_leads, num_samples) float32, millivolt
    facts: EcgFacts

    @cached_property
    def phrases(self) -> dict[str, str]:
        """The phrases of its facts, which the prompt's line of facts has too."""
        return ecg.phrase_ecg(self.facts, self.leads)


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
        series_names=tuple(render_lead(lead, FS_HZ) for lead in record.leads),
        unit="mV",
        rationale=family.explain(record, answer),
        answer=answer,
        fs_hz=FS_HZ,
    )


def _explain_rate(record: EcgRecord, answer: str) -> str:
    where = {"slow": f"under {SLOW_BPM}", "normal": f"between {SLOW_BPM} and {FAST_BPM}", "fast": f"over {FAST_BPM}"}
    return f"{_beats(record)} The {record.phrases['rate']}, {where[answer]}."


def _explain_regularity(record: EcgRecord, answer: str) -> str:
    spread = "which is even" if answer == "regular" else "which is uneven"
    return f"{_beats(record)} {record.phrases['intervals']}. They {record.phrases['variation']}, {spread}."


def _early(record: EcgRecord) -> str | None:
    words = [ecg.early_word(share) for share in record.facts.rr_s / np.median(record.facts.rr_s)]
    return None if None in words else "yes" if "yes" in words else "no"


def _explain_early(record: EcgRecord, answer: str) -> str:
    facts = record.facts
    far = "far" if answer == "yes" else "not far"
    intervals = f"The median RR interval is {np.median(facts.rr_s):.2f} s, the shortest {facts.rr_s.min():.2f} s"
    return f"{_beats(record)} {intervals}, {far} below."


def _explain_pause(record: EcgRecord, answer: str) -> str:
    than = "more" if answer == "yes" else "less"
    return f"{_beats(record)} The longest RR interval is {record.facts.longest_rr_s:.2f} s, {than} than {PAUSE_S:g} s."


def _explain_course(record: EcgRecord, _answer: str) -> str:
    return f"{_beats(record)} The rate {record.phrases['course']} bpm."


def _count(record: EcgRecord) -> str | None:
    return f"{record.facts.num_beats}"


def _explain_count(record: EcgRecord, _answer: str) -> str:
    return f"{record.phrases['intervals']}. The {record.phrases['rate']}."


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
    listed = " and ".join(ecg.phrase_r_height(record.facts, record.leads, int(idx)) for idx in order)
    return f"The R wave reaches {listed}."


def _tallest_options(record: EcgRecord, _rng: np.random.Generator) -> tuple[str, ...]:
    return tuple(f"lead {lead}" for lead in record.leads)


def _beats(record: EcgRecord) -> str:
    return f"{record.phrases['beats']}."


_RECORD_OPTIONS: dict[str, Callable[[EcgRecord, np.random.Generator], tuple[str, ...]]] = {
    "count": _count_options,
    "tallest": _tallest_options,
}
FAMILIES: tuple[QuestionFamily, ...] = (
    QuestionFamily(
        "rate",
        ("Is the heart rate slow, normal or fast?", "Which class does the heart rate belong to?"),
        ("slow", "normal", "fast"),
        lambda record: ecg.rate_word(record.facts.rate_bpm),
        _explain_rate,
    ),
    QuestionFamily(
        "regularity",
        ("Is the rhythm regular or irregular?", "How even are the intervals between beats?"),
        ("regular", "irregular"),
        lambda record: ecg.regularity_word(record.facts.rr_variation),
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
        lambda record: ecg.pause_word(record.facts.longest_rr_s),
        _explain_pause,
    ),
    QuestionFamily(
        "course",
        ("Does the heart rate change over the record?",),
        ("faster", "slower", "steady"),
        lambda record: ecg.course_word(record.facts.rate_change),
        _explain_course,
    ),
    QuestionFamily("count", ("How many beats does the record show?",), (), _count, _explain_count),
    QuestionFamily("tallest", ("Which lead has the tallest R wave?",), (), _tallest, _explain_tallest),
)
