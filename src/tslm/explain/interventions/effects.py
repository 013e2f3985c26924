"""Table of effects of edits: what the epoch shows, what a text must then claim, and which answer a rule expects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from tslm.evidence import words
from tslm.evidence.criteria import Facts, Feature
from tslm.explain.claims.checks import COLUMNS, Verdict, check_claim
from tslm.explain.claims.read import Claim
from tslm.explain.claims.stated import read_stated
from tslm.labels import SleepStage

HUMAN_STAGES = (SleepStage.WAKE, SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.REM)


@dataclass(frozen=True)
class Expectation:
    """An answer that must follow: `sleep_stage`, or any but it."""

    sleep_stage: SleepStage
    is_answered: bool = True

    def is_met(self, answer: SleepStage | None) -> bool:
        """Whether an answer is the one expected; one that does not parse is not."""
        return answer is not None and (answer == self.sleep_stage) == self.is_answered

    def measure(self, probabilities: Mapping[SleepStage, float]) -> float:
        """Probability of what is expected."""
        of_stage = probabilities[self.sleep_stage]
        return of_stage if self.is_answered else 1.0 - of_stage


@dataclass(frozen=True)
class Effect:
    """What an edit does to an epoch, and what follows from it.

    Attributes:
        sleep_stages: of the epochs that it is made in, by the expert.
        applies: whether an epoch can show it, by the facts before.
        is_confirmed: (facts before, after): whether the epoch shows it.
        claim: what the text must claim, in words.
        is_claimed: (claims, facts before, after): whether it does.
        answer: expected, in words; empty where no rule decides it.
        expect: (expert's sleep stage, that of the epoch put in its place) -> the answer expected.
    """

    sleep_stages: tuple[SleepStage, ...]
    applies: Callable[[Facts], bool]
    is_confirmed: Callable[[Facts, Facts], bool]
    claim: str
    is_claimed: Callable[[Sequence[Claim], Facts, Facts], bool]
    answer: str = ""
    expect: Callable[[SleepStage, SleepStage | None], Expectation | None] = lambda _before, _after: None


def _states_none(feature: Feature, claims: Sequence[Claim], _before: Facts, _after: Facts) -> bool:
    """Whether a text does not claim that a feature is present; silence will do."""
    stated = read_stated(claims, feature)
    return stated is None or stated.lowest < 1


def _states_more(feature: Feature, claims: Sequence[Claim], before: Facts, _after: Facts) -> bool:
    stated = read_stated(claims, feature)
    return stated is not None and stated.is_consistent and stated.lowest >= before[COLUMNS[feature]] + 1


def _states_below(feature: Feature, bound: float, claims: Sequence[Claim], _before: Facts, _after: Facts) -> bool:
    stated = read_stated(claims, feature)
    return stated is not None and stated.is_consistent and stated.lowest < bound and stated.highest <= bound


def _states_at_least(feature: Feature, bound: float, claims: Sequence[Claim], _before: Facts, _after: Facts) -> bool:
    stated = read_stated(claims, feature)
    return stated is not None and stated.is_consistent and stated.lowest >= bound


def _fits_the_new_epoch(claims: Sequence[Claim], before: Facts, after: Facts) -> bool:
    """Whether most of the claims that tell two epochs apart, of which there is one at least, are true of the second."""
    pairs = [(check_claim(claim, before).verdict, check_claim(claim, after).verdict) for claim in claims]
    num_old = sum(pair == (Verdict.SUPPORTED, Verdict.CONTRADICTED) for pair in pairs)
    num_new = sum(pair == (Verdict.CONTRADICTED, Verdict.SUPPORTED) for pair in pairs)
    return num_new > num_old


def _differs(before: Facts, after: Facts) -> bool:
    """Whether two epochs differ in two of the facts that every text states, by more than a rough figure may be off."""
    units = {"rms_uv": "uv", "spindle_count": "count", "k_complex_count": "count", "slow_wave_fraction": "time"}
    units[f"{words.rank_bands(before)[0][0]}_share"] = "power"
    slack = {name: words.figure_slack(unit, before[name], is_rough=unit != "count") for name, unit in units.items()}
    return sum(abs(before[name] - after[name]) > most for name, most in slack.items()) >= 2


_FIFTH = words.SLOW_WAVES_MANY
NO_SPINDLES = Effect(
    (SleepStage.N2,),
    lambda facts: facts["spindle_count"] >= 1,
    lambda _before, after: after["spindle_count"] == 0,
    "no spindle",
    partial(_states_none, Feature.SPINDLES),
)
MORE_SPINDLES = Effect(
    (SleepStage.N1, SleepStage.N2, SleepStage.REM),
    lambda _facts: True,
    lambda before, after: after["spindle_count"] > before["spindle_count"],
    "a spindle more, at least",
    partial(_states_more, Feature.SPINDLES),
    "N2, where it was N1",
    lambda before, _after: Expectation(SleepStage.N2) if before == SleepStage.N1 else None,
)
FEW_SLOW_WAVES = Effect(
    (SleepStage.N3,),
    lambda facts: facts["slow_wave_fraction"] >= _FIFTH,
    lambda _before, after: after["slow_wave_fraction"] < _FIFTH,
    "slow waves under a fifth",
    partial(_states_below, Feature.SLOW_WAVES, _FIFTH),
    "not N3",
    lambda _before, _after: Expectation(SleepStage.N3, is_answered=False),
)
MANY_SLOW_WAVES = Effect(
    (SleepStage.N2,),
    lambda facts: facts["slow_wave_fraction"] < _FIFTH,
    lambda _before, after: after["slow_wave_fraction"] >= _FIFTH,
    "slow waves in a fifth or more",
    partial(_states_at_least, Feature.SLOW_WAVES, _FIFTH),
    "N3",
    lambda _before, _after: Expectation(SleepStage.N3),
)
ALPHA = Effect(
    (SleepStage.N1, SleepStage.REM),
    lambda facts: facts["alpha_fraction"] < words.ALPHA_SOME,
    lambda _before, after: after["alpha_fraction"] > words.ALPHA_MOST,
    "alpha rhythm",
    partial(_states_at_least, Feature.ALPHA, words.ALPHA_SOME),
    "Wake, where it was N1",
    lambda before, _after: Expectation(SleepStage.WAKE) if before == SleepStage.N1 else None,
)
OTHER_EPOCH = Effect(
    HUMAN_STAGES,
    lambda _facts: True,
    _differs,
    "what is true of the other epoch",
    _fits_the_new_epoch,
    "its sleep stage",
    lambda _before, after: Expectation(after) if after else None,
)
