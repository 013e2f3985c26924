import numpy as np
import pytest

from data_prep.corpora.ecg import build_samples
from tests.factories.small import small_ecg_sample
from tslm.data.samples.corpus_facts import list_ecg_evidence
from tslm.explain.claims.checks import Verdict
from tslm.explain.ecg_checks import check_ecg_claim, score_ecg_claims
from tslm.explain.ecg_claims import EcgKind, read_ecg_claims
from tslm.predictions.scorings import parse_scorings

# A regular record at 75 bpm: 12 intervals of 0.8 s, and one with an early beat and a pause.
EVEN = list_ecg_evidence(small_ecg_sample([0.8] * 12))
UNEVEN = list_ecg_evidence(small_ecg_sample([0.8, 0.8, 0.8, 0.5, 1.1, 0.8, 0.8, 1.9, 0.8]))


def _check(text: str, evidence: dict[str, float]) -> list[Verdict]:
    return [check_ecg_claim(claim, evidence) for claim in read_ecg_claims(text)]


def _row(idx: int, generated: str, evidence: dict[str, float] | None = None) -> dict:
    facts = {} if evidence is None else {"evidence": evidence}
    options = ["yes", "no"] if idx else ["no", "yes"]
    return {
        "system": "language_model",
        "sample_id": str(idx),
        "truth": "no",
        "options": options,
        "generated": generated,
        **facts,
    }


def _scoring(*rows: dict):
    return parse_scorings(rows)["language_model"]


def test_every_claim_of_every_composed_rationale_is_true_and_every_figure_is_read():
    families = set()
    for sample in build_samples(150, 3):
        claims, evidence = read_ecg_claims(sample.rationale), list_ecg_evidence(sample)
        assert claims
        assert [check_ecg_claim(claim, evidence) for claim in claims] == [Verdict.SUPPORTED] * len(claims)
        unread = "".join(
            letter
            for idx, letter in enumerate(sample.rationale)
            if not any(claim.start <= idx < claim.stop for claim in claims)
        )
        assert not any(letter.isdigit() for letter in unread.replace("V5", "")), unread
        families.add(sample.sample_id.split("-")[-1])
    assert len(families) == 7


def test_rationales_of_other_records_are_mostly_contradicted():
    samples = list(build_samples(60, 4))
    verdicts = [
        verdict
        for sample, other in zip(samples, samples[1:], strict=False)
        for verdict in _check(sample.rationale, list_ecg_evidence(other))
    ]
    assert verdicts.count(Verdict.SUPPORTED) < 0.35 * len(verdicts)


TRUE_OF_EVEN = [
    "about 72 beats per minute, regular",
    "Heart rate 75 bpm.",
    "The heart rate is around 75.",
    "The rate lies between 60 and 100 bpm, a normal heart rate.",
    "The ventricular rate of 75/min is not slow.",
    "13 beats.",
    "The rhythm is regular without pauses, premature ventricular contractions or ectopy.",
    "Beats are evenly spaced.",
    "RR intervals range from 0.80 to 0.80 s, vary by 0%, which is even.",
    "R-R intervals range from 800 ms to 800 ms.",
    "The mean RR interval is 0.8 s.",
    "An RR interval of about 0.85 seconds.",
    "The longest RR interval is 0.80 s, less than 1.5 s.",
    "No pause of more than 1.5 seconds. PVCs are absent.",
    "The rate holds from 75 to 75 bpm.",
    "The heart rate stays constant.",
    "The shortest 0.80 s, not far below.",
    "The rhythm isn't irregular.",
    "There is no tachycardia or bradycardia.",
    "Neither early beats nor pauses can be seen.",
    "Rhythm: regular. Pauses: none.",
    "RR intervals are between 0.8 s and 0.8 s.",
    "The R wave reaches 1.0 mV in lead II and 0.5 mV in lead V5, so it is tallest in lead II.",
]
FALSE_OF_EVEN = [
    "A rate of 90 bpm.",
    "Tachycardia, over 100.",
    "The rate is slow.",
    "12 beats.",
    "Irregularly irregular.",
    "The rhythm is not regular.",
    "There are two premature beats.",
    "An early beat is seen.",
    "A pause of 2.0 seconds.",
    "A long pause.",
    "The longest RR interval is 1.60 s.",
    "The rate rises from 60 to 90 bpm.",
    "They vary by 15%, which is uneven.",
    "The shortest is far below.",
    "1.0 mV in lead V5.",
    "The R wave is tallest in V5.",
]


@pytest.mark.parametrize("text", TRUE_OF_EVEN)
def test_true_words_about_a_regular_record_are_supported(text):
    verdicts = _check(text, EVEN)
    assert verdicts
    assert set(verdicts) == {Verdict.SUPPORTED}


@pytest.mark.parametrize("text", FALSE_OF_EVEN)
def test_false_words_about_a_regular_record_are_contradicted(text):
    verdicts = _check(text, EVEN)
    assert verdicts
    assert set(verdicts) == {Verdict.CONTRADICTED}


def test_an_early_beat_and_a_pause_are_counted():
    assert _check("One premature beat and one pause. The rhythm is irregular.", UNEVEN) == [Verdict.SUPPORTED] * 3
    assert _check("Two premature beats. No pauses. The rhythm is regular.", UNEVEN) == [Verdict.CONTRADICTED] * 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The P waves are regular P waves. QRS complexes are narrow.",
        "The PR interval is 0.16 s, less than 0.20 s. PR intervals range from 0.12 to 0.20 s.",
        "It is even more likely that the axis is normal. ST elevation of 2 mm.",
        "Answer: irregular",
        "The patient weighs over 100 kg. QT interval below 450 ms.",
        "There are irregularities in the baseline, over 50 uV.",
    ],
)
def test_words_about_other_things_are_no_claims(text):
    assert read_ecg_claims(text) == ()


def test_a_value_too_near_its_threshold_or_an_unmeasured_lead_is_not_checkable():
    near = EVEN | {"rr_variation": 0.08, "rate_bpm": 60.5, "rr_longest_s": 1.52, "rr_shortest_s": 0.64}
    text = "Regular, a slow heart rate, no pauses, no early beats, 0.7 mV in lead aVR."
    assert set(_check(text, near)) == {Verdict.NOT_CHECKABLE}
    assert len(read_ecg_claims(text)) == 5


def test_a_claim_says_where_it_stands_and_what_it_is_about():
    text = "It is regular at 75 bpm. Answer: normal"
    claims = read_ecg_claims(text)
    assert [(claim.kind, text[claim.start : claim.stop]) for claim in claims] == [
        (EcgKind.REGULARITY, "regular"),
        (EcgKind.RATE, "75 bpm"),
    ]


def test_the_share_of_true_claims_is_over_checkable_ones_and_a_repeated_claim_counts_once():
    scoring = _scoring(
        _row(0, "Regular, regular. 75 bpm. 10 beats. Answer: no", EVEN),
        _row(1, "Irregular. Answer: no", EVEN),
        _row(2, "Irregular at 40 bpm. Answer: no"),
    )
    scores = score_ecg_claims(scoring, num_resamples=50)
    assert scores is not None
    assert (scores["num_rationales"], scores["num_checkable"], scores["precision"]) == (2, 4, 0.5)
    assert scores["rate_and_regularity"] == {"num_checkable": 3, "precision": pytest.approx(2 / 3)}
    assert scores["by_kind"]["beats"] == {"num_checkable": 1, "precision": 0.0}
    low, high = scores["intervals"]["precision"]
    assert 0.0 <= low <= 0.5 <= high <= 1.0
    assert scores["intervals"]["unit"] == "questions"


def test_texts_without_evidence_or_without_a_claim_have_no_share():
    assert score_ecg_claims(_scoring(_row(0, "Regular."))) is None
    scores = score_ecg_claims(_scoring(_row(0, "Answer: no", EVEN)), num_resamples=10)
    assert scores is not None
    assert (scores["num_checkable"], scores["precision"], scores["by_kind"]) == (0, None, {})
    assert scores["intervals"]["precision"] == [None, None]


def test_the_evidence_of_the_test_records_is_what_was_put_into_them():
    assert EVEN["rate_bpm"] == pytest.approx(75, abs=0.5)
    assert (EVEN["beat_count"], UNEVEN["early_beat_count"], UNEVEN["pause_count"]) == (13, 1, 1)
    assert np.isclose(UNEVEN["rr_longest_s"], 1.9, atol=0.02)
