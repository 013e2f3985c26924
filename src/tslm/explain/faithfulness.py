"""Faithfulness of rationales: each claim compared with what was measured in its epoch.

1. read every rationale into claims                           (claims.read)
2. compare each claim with the facts of its epoch             (claims.checks)
3. weigh whether its arguments support the answer             (claims.arguments, tslm.evidence.criteria)
4. count the verdicts, with intervals                         (controls)
5. count again with claims and epochs shuffled, the controls  (controls)
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tslm.answers.grammar import remove_special_tokens
from tslm.config.schema import STATING_FACTS
from tslm.evidence import words
from tslm.evidence.criteria import Feature
from tslm.evidence.events import Event, parse_events
from tslm.explain.claims.arguments import weigh_rationale
from tslm.explain.claims.checks import CheckedClaim, Verdict, check_claim
from tslm.explain.claims.read import read_claims, split_sentences
from tslm.explain.controls import (
    NUM_SHUFFLES,
    NUM_SHUFFLES_ALIKE,
    STATED_COLUMN,
    ClaimTable,
    count_claims,
    find_number,
    group_alike,
    measure_shares,
    score_control,
)
from tslm.labels import ANSWER_NAMES, SleepStage, parse_sleep_stage
from tslm.metric_names import percent
from tslm.predictions.nights import is_staging
from tslm.predictions.rows import PredictionRow
from tslm.predictions.scorings import Scoring
from tslm.scoring.intervals import DEFAULT_RESAMPLING, Resamples, Resampling, find_subjects
from tslm.table import Cell


@dataclass(frozen=True)
class CheckedRationale:
    """All claims of one rationale, checked."""

    claims: tuple[CheckedClaim, ...]

    def count(self, verdict: Verdict) -> int:
        """Count the claims with a verdict."""
        return sum(checked.verdict == verdict for checked in self.claims)

    @property
    def is_faithful(self) -> bool:
        """Whether a claim is supported and none is contradicted."""
        return self.count(Verdict.SUPPORTED) > 0 and self.count(Verdict.CONTRADICTED) == 0


EventRows = Sequence[Sequence[Any]]  # as in a row of predictions (`tslm.evidence.events.render_events`)


def check_rationale(
    text: str, evidence_row: Mapping[str, float | None], event_rows: EventRows | None = None
) -> CheckedRationale:
    """Read a rationale and check every claim.

    Args:
        text: rationale, with or without its answer.
        evidence_row: measured values of the epoch by column of `tslm.evidence.measure`; a column
            that is missing or None makes claims on it not checkable.
        event_rows: events of the epoch; None makes claims on times not checkable.

    Raises:
        ValueError: something that is no event.
    """
    facts, events = _round_row(evidence_row), _parse_event_rows(event_rows)
    return CheckedRationale(tuple(check_claim(claim, facts, events) for claim in read_claims(text)))


def score_faithfulness(
    rationales: Sequence[str],
    evidence_rows: Sequence[Mapping[str, float | None]],
    truth: Sequence[SleepStage | None],
    answers: Sequence[SleepStage | None],
    *,
    event_rows: Sequence[EventRows | None] | None = None,
    subjects: Sequence[str] | None = None,
    resampling: Resampling | None = DEFAULT_RESAMPLING,
    seed: int = 0,
    facts_in_prompt: bool = False,
) -> dict[str, Any]:
    """Score how far rationales agree with the measurements of their epochs, and of other epochs as a control.

    A claim that a rationale repeats counts once.

    Args:
        rationales: one text per epoch, in time order within a subject.
        evidence_rows: measured values of the same epochs.
        truth: the sleep stage whose deciding evidence should be named; None where there is none.
        answers: the sleep stage that the rationale's author answered; None where it did not parse.
        event_rows: events of the same epochs; None, or None for an epoch: not known, claims on times are not checkable.
        subjects: of each epoch; None, or one for all: intervals are over blocks of epochs.
        resampling: of the intervals; None for none.
        seed: of the shuffles.
        facts_in_prompt: whether the prompts stated the measured facts.

    Returns:
        `num_rationales`, `num_claims`, counts per verdict, `num_hedged`, `claims_per_rationale`;
        `precision`: supported over checkable claims;
        `precision_beyond_prompt`: the same without what the prompt states (`STATED_BY_PROMPT`);
        `coverage`: mean share of the features that decide the true sleep stage (`tslm.evidence.criteria`) of which the
        rationale makes a supported claim; `share_faithful`: rationales with a supported claim and no contradicted
        one; `consistency`: rationales whose arguments speak for their answer, over those whose arguments speak for
        or against it (`weigh_rationale`); `precision_by_feature`; `intervals` of the five shares and of
        `claims_per_rationale`; `shuffled` and `shuffled_alike` (`score_control`): beside any other epoch, beside
        another one that was answered alike and has about the same amplitude; `grounded`: True where claims beyond the
        prompt are truer of their own epoch than of those alike, False where they are not clearly so, None where that
        cannot be said. With the facts in the prompt `faithful_to_facts` stands in its place: the same of all claims.

    Raises:
        ValueError: lengths differ, there is no rationale, or something is no event.
    """
    num = len(rationales)
    event_rows = [None] * num if event_rows is None else event_rows
    if not num or not num == len(evidence_rows) == len(truth) == len(answers) == len(event_rows):
        raise ValueError(
            f"{num} rationales, {len(evidence_rows)} rows of evidence, {len(event_rows)} of events, {len(truth)} true "
            f"stages and {len(answers)} answers; pass one of each an epoch, at least one"
        )
    claims = [read_claims(text) for text in rationales]
    events = [_parse_event_rows(rows) for rows in event_rows]
    table = ClaimTable(claims, [_round_row(row) for row in evidence_rows], events)
    checked = [table.check(place, place) for place in range(num)]
    verdicts = Counter(item.verdict for row in checked for item in row)
    weights = [weigh_rationale(*of_one) for of_one in zip(rationales, claims, answers, strict=True)]

    def count(epoch: int, rationale: int) -> list[float]:
        return count_claims(table.check(rationale, epoch), table.facts[epoch], truth[epoch], weights[rationale])

    counts_NM = np.array([count(place, place) for place in range(num)])
    compared = "precision" if facts_in_prompt else "precision_beyond_prompt"
    shuffled = score_control(counts_NM, [""] * num, count, subjects, resampling, NUM_SHUFFLES, seed, compared)
    groups = group_alike(answers, [row.get(STATED_COLUMN) for row in evidence_rows], seed)
    alike = score_control(counts_NM, groups, count, subjects, resampling, NUM_SHUFFLES_ALIKE, seed, compared)
    return {
        "num_rationales": num,
        "num_claims": verdicts.total(),
        "num_supported": verdicts[Verdict.SUPPORTED],
        "num_contradicted": verdicts[Verdict.CONTRADICTED],
        "num_not_checkable": verdicts[Verdict.NOT_CHECKABLE],
        "num_hedged": sum(claim.hedged for row in claims for claim in row),
        "claims_per_rationale": verdicts.total() / num,
        **{name: find_number(share[0]) for name, share in measure_shares(counts_NM.sum(0, keepdims=True)).items()},
        "precision_by_feature": _score_features(checked),
        **({"intervals": _find_intervals(counts_NM, checked, subjects, resampling)} if resampling else {}),
        "shuffled": shuffled,
        "shuffled_alike": alike,
        "faithful_to_facts" if facts_in_prompt else "grounded": _decide_grounded(shuffled, alike),
    }


def score_texts(
    scoring: Scoring, seed: int = 0, num_resamples: int = Resampling.num_resamples
) -> dict[str, Any] | None:
    """`score_faithfulness` of one system's texts: of rows that carry evidence and are answered by a sleep stage.

    Rows without a reference are among them; only `coverage` needs one.

    None if there is no such row, as for questions about other series. No intervals with `num_resamples` 0.

    Of verified texts (tslm.explain.verify) further: `verification` (how much it changed) and `before_verification`, the
    scores of the first texts. Only those say whether the model follows the signal, so `grounded` is theirs.
    """
    scoring = scoring.sort_by_time()
    staged = scoring.select(
        idx
        for idx, row in enumerate(scoring.rows)
        if row.get("evidence")
        and "generated" in row
        and row["options"]
        and (is_staging([row]) if row["truth"] is None else parse_sleep_stage(row["truth"]) in ANSWER_NAMES)
    )
    if not staged.rows:
        return None
    subjects, unit = find_subjects(staged.rows)

    def score(texts: Sequence[str]) -> dict[str, Any]:
        return score_faithfulness(
            [remove_special_tokens(text) for text in texts],
            [row["evidence"] for row in staged.rows],
            [parse_sleep_stage(row["truth"] or "") for row in staged.rows],
            [parse_sleep_stage(answer) if answer else None for answer in staged.answers],
            event_rows=[row.get("events") for row in staged.rows],
            subjects=subjects,
            resampling=Resampling(num_resamples, seed, unit=unit) if num_resamples else None,
            seed=seed,
            facts_in_prompt=any(row.get("inputs") in STATING_FACTS for row in staged.rows),
        )

    scores = score([row["generated"] for row in staged.rows])
    verified = [row for row in staged.rows if "first_generated" in row]
    if not verified:
        return scores
    before = score([row.get("first_generated", row["generated"]) for row in staged.rows])
    followed = "faithful_to_facts" if "faithful_to_facts" in before else "grounded"
    return scores | {
        followed: before[followed],
        "verification": _describe_verification(verified),
        "before_verification": before,
    }


def _describe_verification(verified: Sequence[PredictionRow]) -> dict[str, float]:
    """Describe what verification changed: texts written again, texts with a struck sentence, tries, sentences."""
    num_kept = sum(len(split_sentences(row["generated"])) for row in verified)
    num_struck = sum(len(row["struck"]) for row in verified)
    return {
        "num_verified": len(verified),
        "share_rewritten": sum(row["tries"] > 0 for row in verified) / len(verified),
        "share_struck": sum(bool(row["struck"]) for row in verified) / len(verified),
        "mean_tries": sum(row["tries"] for row in verified) / len(verified),
        "share_sentences_struck": num_struck / max(num_kept + num_struck, 1),
    }


def add_faithfulness(
    metrics: dict[str, Any],
    scorings: Mapping[str, Scoring],
    seed: int = 0,
    num_resamples: int = Resampling.num_resamples,
) -> None:
    """Add `score_texts` of every system that wrote texts to its metrics (`tslm.scoring.systems.score_systems`)."""
    for name, scoring in scorings.items():
        if scores := score_texts(scoring, seed, num_resamples):
            metrics["systems"][name]["faithfulness"] = scores


def describe_faithfulness(metrics: Mapping[str, Any]) -> list[str]:
    """A paragraph on the texts of every system of metrics.json that wrote some."""
    parts = [
        (name, part["faithfulness"]) for name, part in metrics.get("systems", {}).items() if "faithfulness" in part
    ]
    return [f"{name.replace('_', ' ')}: {_describe_verified(scores)}" for name, scores in parts]


def _describe_verified(scores: Mapping[str, Any]) -> str:
    """Texts as first written, and what verification changed where there was any."""
    if "verification" not in scores:
        return _describe_scores(scores)
    before, changed = scores["before_verification"], scores["verification"]
    figures = [
        f"{name} {_format(before[key], before.get('intervals', {}).get(key))} -> "
        f"{_format(scores[key], scores.get('intervals', {}).get(key))}"
        for key, name in (
            ("precision", "true"),
            ("share_faithful", "without a false claim"),
            ("claims_per_rationale", "claims a rationale"),
        )
    ]
    shares = {name: Cell(percent(value), 1, "%").text() for name, value in changed.items() if "share" in name}
    return (
        f"before verification, {_describe_scores(before)}\nverification: {', '.join(figures)}; "
        f"{shares['share_rewritten']} written again ({changed['mean_tries']:.2f} tries a text), "
        f"{shares['share_struck']} with a struck sentence, {shares['share_sentences_struck']} of sentences struck"
    )


def _describe_scores(scores: Mapping[str, Any]) -> str:
    num_checkable = scores["num_supported"] + scores["num_contradicted"]
    shuffled = scores["shuffled"] or {"precision": None, "coverage": None}
    intervals = scores.get("intervals", {})
    shares = {name: _format(scores[name], intervals.get(name)) for name in ("precision", "coverage", "consistency")}
    line = (
        f"rationales: {shares['precision']} of {num_checkable} checkable claims are true (shuffled between epochs "
        f"{_format(shuffled['precision'])}), coverage {shares['coverage']} (shuffled {_format(shuffled['coverage'])}), "
        f"{shares['consistency']} argue for their answer"
    )
    alike = scores["shuffled_alike"]
    if alike is None:
        return line
    facts_in_prompt = "faithful_to_facts" in scores
    verdicts = {
        True: "they follow the facts in the prompt" if facts_in_prompt else "they follow the signal",
        False: "NOT FAITHFUL to the facts in the prompt" if facts_in_prompt else "NOT GROUNDED in the signal",
        None: "too few to tell",
    }
    difference = _format(alike["difference"], alike["difference_interval"])
    return (
        f"{line}\n{'' if facts_in_prompt else 'beyond what the prompt states '}truer by "
        f"{difference} than beside epochs of like answer and amplitude, "
        f"{Cell(percent(alike['gain']), 0, '%').text()} of what was to gain: {verdicts[decide_followed(scores)]}"
    )


def decide_followed(scores: Mapping[str, Any]) -> bool | None:
    """`grounded`, or `faithful_to_facts` where the prompts stated the facts."""
    return scores["faithful_to_facts"] if "faithful_to_facts" in scores else scores["grounded"]


def _format(value: float | None, interval: Sequence[float | None] | None = None) -> str:
    return Cell(value, interval=interval).text()


def _decide_grounded(shuffled: Mapping[str, Any] | None, alike: Mapping[str, Any] | None) -> bool | None:
    """Return whether claims follow the signal: above the stricter control; False if not even above the other."""
    if shuffled is None or shuffled["is_above"] is not True:
        return None if shuffled is None else shuffled["is_above"]
    return alike["is_above"] if alike else None


def _find_intervals(
    counts_NM: np.ndarray,
    checked: Sequence[Sequence[CheckedClaim]],
    subjects: Sequence[str] | None,
    resampling: Resampling,
) -> dict[str, Any]:
    resamples = Resamples(len(counts_NM), subjects, resampling)
    values = measure_shares(resamples.sum(counts_NM))
    claims_R, rationales_R = resamples.sum(np.array([[len(row), 1.0] for row in checked])).T
    values["claims_per_rationale"] = claims_R / rationales_R
    return {name: resamples.find_interval(value_R) for name, value_R in values.items()} | resamples.describe()


def _round_row(evidence_row: Mapping[str, float | None]) -> dict[str, float]:
    return words.round_facts(
        {name: value for name, value in evidence_row.items() if isinstance(value, int | float) and math.isfinite(value)}
    )


def _parse_event_rows(event_rows: EventRows | None) -> tuple[Event, ...] | None:
    return None if event_rows is None else parse_events(event_rows)


def _score_features(checked: Sequence[Sequence[CheckedClaim]]) -> dict[str, dict[str, float]]:
    """Checkable claims and the supported share of them, per feature."""
    counts = Counter((item.claim.feature, item.verdict) for row in checked for item in row)
    scores = {}
    for feature in Feature:
        supported, contradicted = counts[feature, Verdict.SUPPORTED], counts[feature, Verdict.CONTRADICTED]
        if checkable := supported + contradicted:
            scores[str(feature)] = {"num_checkable": checkable, "precision": supported / checkable}
    return scores
