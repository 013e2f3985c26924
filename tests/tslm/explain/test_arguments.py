import pytest

from tslm.evidence.criteria import CRITERIA, RODENT_CRITERIA, RULES
from tslm.explain.claims.arguments import read_arguments, weigh_rationale
from tslm.explain.claims.read import read_claims
from tslm.labels import SleepStage

N3_TEXT = "Moderate amplitude, slow waves in 15%. Decisive (6.A): leading delta; doubt (6.B): slow waves under a fifth."


def weigh(text: str, answer: SleepStage) -> float:
    return weigh_rationale(text, read_claims(text), answer)


def test_arguments_are_the_claims_of_the_closing_with_their_rules() -> None:
    arguments = read_arguments(N3_TEXT, read_claims(N3_TEXT))
    assert [(str(item.claim.feature), item.is_for, item.rule) for item in arguments] == [
        ("delta", True, "6.A"),
        ("slow_waves", False, "6.B"),
    ]


@pytest.mark.parametrize(
    ("text", "answer", "weight"),
    [
        (N3_TEXT, SleepStage.N3, 1.0),
        (N3_TEXT, SleepStage.REM, -1.0),  # leading delta is no argument for R
        ("Decisive: alpha over half of the time (3.B).", SleepStage.WAKE, 1.0),
        ("Decisive: alpha over half of the time (4.B).", SleepStage.WAKE, -1.0),  # not a rule of wake
        ("Decisive: alpha over half of the time.", SleepStage.WAKE, 1.0),
        ("Decisive: slow waves past a fifth (6.B).", SleepStage.WAKE, -1.0),
        ("Decisive: spindles (5.B); doubt comes from slow waves past a fifth (6.B).", SleepStage.N2, 1.0),
        ("Decisive: spindles (5.B); doubt comes from recent spindles or K-complexes (5.C).", SleepStage.N2, -1.0),
        ("Doubt remains, given scarce alpha (3.B).", SleepStage.WAKE, 0.0),
        ("Doubt remains, given alpha over half of the time (3.B).", SleepStage.WAKE, -1.0),
        (
            "The label rests on theta at 20% (4.B), though alpha over half the time (3.B) left doubt.",
            SleepStage.N1,
            1.0,
        ),
        ("Decisive: the lack of fast activity (rodent 1).", SleepStage.NREM, 1.0),
        ("Slow waves in 40%.", SleepStage.N3, 1.0),  # no closing: all claims are weighed
        ("Slow waves in 40%.", SleepStage.REM, -1.0),
        ("Nothing of note.", SleepStage.N2, 0.0),
    ],
)
def test_a_rationale_is_weighed_by_what_it_says_decides(text: str, answer: SleepStage, weight: float) -> None:
    assert weigh(text, answer) == weight


def test_no_answer_weighs_nothing() -> None:
    assert weigh_rationale(N3_TEXT, read_claims(N3_TEXT), None) == 0.0


def test_every_criterion_cites_a_rule_of_the_table_that_names_no_stage() -> None:
    rows = [row for table in (CRITERIA, RODENT_CRITERIA) for rows in table.values() for row in rows]
    assert {row.rule for row in rows} == set(RULES.values())
    assert all(name == rule.name and not set(name) & set("NWR") for name, rule in RULES.items())


def test_a_cited_rule_is_no_claim() -> None:
    plain = N3_TEXT.replace(" (6.A)", "").replace(" (6.B)", "")
    kinds = [[(item.feature, item.relation, item.value) for item in read_claims(text)] for text in (N3_TEXT, plain)]
    assert kinds[0] == kinds[1]
