import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.factories.rows import make_row
from tslm.explain.claims.checks import Verdict
from tslm.predictions.scorings import parse_scorings
from tslm.report.rationales import MAX_CHARACTERS, VERDICTS, cut_text, describe_rationale
from tslm.report.sections import render_text_scores

SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: (min(pair), max(pair))), max_size=6)


@settings(max_examples=30)
@given(st.text(max_size=40), SPANS)
def test_pieces_joined_are_the_text_and_name_the_spans_that_cover_them(text, spans):
    pieces = cut_text(text, spans)
    assert "".join(piece for piece, _ in pieces) == text
    start = 0
    for piece, covering in pieces:
        for idx, (first, last) in enumerate(spans):
            inside = [first <= at < last for at in range(start, start + len(piece))]
            assert all(inside) if idx in covering else not any(inside)
        start += len(piece)


def test_claims_stand_beside_what_was_measured():
    evidence = {"rms_uv": 12.4, "spindle_count": 2.0, "k_complex_count": 0.0}
    described = describe_rationale("RMS 12 uV. Possibly a K-complex, sawtooth waves. Answer: REM sleep<eos>", evidence)
    verdicts = [(VERDICTS[verdict], hedged, measured) for verdict, hedged, measured, _ in described["claims"]]
    assert (Verdict.SUPPORTED, 0, "RMS 12 µV") in verdicts
    assert (Verdict.CONTRADICTED, 1, "K-complex count 0") in verdicts
    assert verdicts[-1][0] == Verdict.NOT_CHECKABLE
    assert described["answer"] == "REM sleep"


def test_a_claim_on_a_time_is_checked_beside_the_events_and_shows_theirs():
    evidence, events = {"spindle_count": 2}, [["spindles", 4.2, 0.9], ["spindles", 25.5, 1.1]]
    text = "A spindle at 4 s. Spindles at 12 s."
    claims = describe_rationale(text, evidence, events)["claims"]
    assert [VERDICTS[verdict] for verdict, *_ in claims] == [Verdict.SUPPORTED, Verdict.CONTRADICTED]
    assert [(measured, resting) for *_, measured, resting in claims] == [
        ("Spindle count 2", [0]),
        ("Spindle count 2", [0, 1]),
    ]
    unknown = describe_rationale(text, evidence)["claims"]
    assert [VERDICTS[verdict] for verdict, *_ in unknown] == [Verdict.NOT_CHECKABLE] * 2


def test_struck_sentences_stand_in_the_text_and_are_named():
    struck = [(0, "RMS 40 uV. "), (len("Two spindles. "), "Three K-complexes. ")]
    evidence = {"rms_uv": 12.4, "spindle_count": 2.0, "k_complex_count": 0.0}
    described = describe_rationale("Two spindles. Answer: REM sleep", evidence, struck=struck)
    pieces = [text for text, _ in described["pieces"]]
    assert "".join(pieces) == "RMS 40 uV. Two spindles. Three K-complexes."
    assert [pieces[place] for place in described["struck"]] == ["RMS 40 uV", ". ", "Three K-complexes", "."]
    verdicts = [VERDICTS[verdict] for verdict, *_ in described["claims"]]
    assert verdicts == [Verdict.CONTRADICTED, Verdict.SUPPORTED, Verdict.CONTRADICTED]


def test_a_runaway_text_is_cut_and_counted():
    described = describe_rationale("alpha " * 5000, {})
    assert sum(len(piece) for piece, _ in described["pieces"]) == MAX_CHARACTERS
    assert described["cut"] == 30_000 - 1 - MAX_CHARACTERS
    assert described["answer"] == ""


@pytest.mark.parametrize(
    ("seen", "num", "verdict"),
    [
        (True, 200, "follow the signal"),
        (False, 200, "fit the answer rather than the epoch"),
        (True, 3, "too few epochs"),
    ],
)
def test_the_page_says_whether_texts_follow_the_signal(seen, num, verdict):
    """Texts that name the spindles of their epoch, and texts that name those of the epoch before."""
    counts = [(7 * idx * idx + idx // 3) % 4 for idx in range(num + 1)]
    rows = [
        make_row(
            idx,
            "Non-REM stage 2",
            f"{counts[idx] if seen else counts[idx - 1]} spindles. Answer: Non-REM stage 2",
            evidence={"spindle_count": counts[idx], "rms_uv": 10.0 + idx % 5},
        )
        for idx in range(1, num + 1)
    ]
    assert verdict in render_text_scores(parse_scorings(rows))
