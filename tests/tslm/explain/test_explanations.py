import json

from tslm.explain.explanations import describe_claims
from tslm.explain.faithfulness import check_rationale

EVIDENCE = {"rms_uv": 12.4, "spindle_count": 2, "k_complex_count": 0, "theta_share": None}
EVENTS = [["spindles", 4.2, 0.9], ["spindles", 25.5, 1.1]]
TEXT = "RMS 12 µV, two spindles at 4 s and 12 s. Possibly a K-complex, vertex waves, theta 20%. Answer: N2"


def test_an_explanation_survives_json_and_holds_every_checked_claim():
    described = describe_claims(TEXT, EVIDENCE, EVENTS)
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    checked = check_rationale(TEXT, EVIDENCE, EVENTS).claims
    assert len(described) == len(checked) == 7
    for claim, item in zip(described, checked, strict=True):
        assert claim["text"] == TEXT[claim["start"] : claim["stop"]] != ""
        assert (claim["feature"], claim["verdict"]) == (item.claim.feature, item.verdict)


def test_a_claim_is_described_by_what_it_says_and_what_it_rests_on():
    rms, count, first, second, k_complex, *unknown = describe_claims(TEXT, EVIDENCE, EVENTS)
    assert rms == {
        "text": "RMS 12 µV",
        "start": 0,
        "stop": 9,
        "feature": "rms",
        "relation": "equals",
        "value": 12.0,
        "upper": None,
        "unit": "uv",
        "negated": False,
        "hedged": False,
        "verdict": "supported",
        "column": "rms_uv",
        "measured": 12.0,
        "places": [],
    }
    assert (count["verdict"], count["measured"], count["places"]) == ("supported", 2, [[4.2, 0.9], [25.5, 1.1]])
    assert (first["relation"], first["verdict"], first["places"]) == ("at", "supported", [[4.2, 0.9]])
    assert (second["verdict"], len(second["places"])) == ("contradicted", 2)
    assert (k_complex["hedged"], k_complex["verdict"], k_complex["column"]) == (True, "contradicted", "k_complex_count")
    assert [(claim["verdict"], claim["column"], claim["measured"]) for claim in unknown] == [
        ("not checkable", "", None)
    ] * 2


def test_without_events_times_are_not_checked_and_nothing_has_a_place():
    described = describe_claims(TEXT, EVIDENCE)
    assert [claim["verdict"] for claim in described if claim["unit"] == "at_s"] == ["not checkable"] * 2
    assert not any(claim["places"] for claim in described)
