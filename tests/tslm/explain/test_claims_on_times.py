"""Claims on where a waveform lies, checked against the events of the epoch."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslm.evidence.criteria import Feature
from tslm.evidence.events import EVENT_KINDS
from tslm.explain.faithfulness import check_rationale, score_faithfulness
from tslm.labels import SleepStage

EPOCH = {
    "rms_uv": 18.0,
    "alpha_fraction": 0.3,
    "alpha_share": 0.2,
    "slow_wave_fraction": 0.25,
    "spindle_count": 2,
    "spindle_density_per_min": 4,
    "k_complex_count": 1,
    "eye_movement_count": 0,
    "sawtooth_count": 0,
    "artefact_fraction": 0.0,
}
EVENTS = [
    ["alpha", 2.0, 8.0],
    ["spindles", 4.2, 0.9],
    ["k_complexes", 8.0, 1.2],
    ["slow_waves", 14.0, 7.0],
    ["spindles", 25.5, 1.1],
]


def verdicts(text, events=EVENTS, row=EPOCH):
    return [str(checked.verdict) for checked in check_rationale(text, row, events).claims]


@pytest.mark.parametrize(
    "text",
    [
        "A spindle at 4 s.",
        "Spindles at 4 s and 26 s.",
        "A spindle at about 3.3 s.",
        "A K-complex at 8.5 s.",
        "No spindle at 15 s, no eye movement at 4 s.",
        "Slow waves from 14 to 21 s.",
        "Slow waves at 17 s.",
        "Slow waves from 12 to 21 s.",
        "Alpha at 3-8 s.",
        "A K-complex from 7 to 10 s.",
    ],
)
def test_a_time_is_supported_where_an_event_lies_there(text):
    assert set(verdicts(text)) == {"supported"}


@pytest.mark.parametrize(
    "text",
    [
        "A spindle at 12 s.",
        "Spindles at 6 s and 24 s.",
        "A spindle at 3.3 s.",
        "A K-complex at 25 s.",
        "No spindle at 26 s.",
        "Slow waves from 0 to 15 s.",
        "Slow waves at 5 s.",
        "An eye movement at 4 s.",
    ],
)
def test_a_time_is_contradicted_where_no_event_lies_there(text):
    assert set(verdicts(text)) == {"contradicted"}


@pytest.mark.parametrize("text", ["A spindle at 4 s.", "No K-complex at 12 s.", "Slow waves from 14 to 21 s."])
def test_a_time_is_not_checkable_where_events_or_their_column_are_not_known(text):
    assert verdicts(text, None) == ["not checkable"]
    assert verdicts(text, EVENTS, {"rms_uv": 18.0}) == ["not checkable"]
    assert verdicts(text, []) != ["not checkable"]


def test_what_has_no_events_is_not_checkable_by_its_time():
    assert verdicts("A vertex wave at 4 s.") == ["not checkable"]


def test_other_claims_do_not_depend_on_whether_events_are_known():
    text = "Two spindles, three K-complexes, slow waves in 25% of the time, no eye movements, RMS 18 uV."
    assert verdicts(text) == verdicts(text, None)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("Two spindles.", [(4.2, 0.9), (25.5, 1.1)]),
        ("No spindles.", [(4.2, 0.9), (25.5, 1.1)]),
        ("A spindle density of 4 per minute.", [(4.2, 0.9), (25.5, 1.1)]),
        ("A spindle at 26 s.", [(25.5, 1.1)]),
        ("A spindle at 12 s.", [(4.2, 0.9), (25.5, 1.1)]),
        ("Slow waves fill 25% of the epoch.", [(14.0, 7.0)]),
        ("Alpha over a third of the time.", [(2.0, 8.0)]),
        ("Alpha power of 20%.", []),
        ("No eye movements.", []),
        ("RMS 18 uV.", []),
    ],
)
def test_a_checked_claim_has_the_places_of_the_events_it_rests_on(text, places):
    (checked,) = check_rationale(text, EPOCH, EVENTS).claims
    assert checked.places == tuple(places)
    (unknown,) = check_rationale(text, EPOCH).claims
    assert unknown.places == ()


@given(
    onset_s=st.floats(0, 29), duration_s=st.floats(0.1, 2), kind=st.sampled_from(EVENT_KINDS["human"]), data=st.data()
)
def test_any_second_of_an_event_is_supported_and_one_beyond_its_slack_contradicted(onset_s, duration_s, kind, data):
    name = {Feature.ARTEFACT: "artefacts", Feature.SAWTOOTH: "sawtooth waves"}.get(kind, kind.replace("_", " "))
    events = [[kind.value, onset_s, duration_s]]
    inside_s = data.draw(st.floats(onset_s, onset_s + duration_s))
    assert verdicts(f"There are {name} at {inside_s:.2f} s.", events) == ["supported"]
    assert verdicts(f"There are {name} at {round(onset_s)} s.", events) == ["supported"]
    outside_s = onset_s + duration_s + 0.52
    assert verdicts(f"There are {name} at {outside_s:.2f} s.", events) == ["contradicted"]


def test_texts_that_cite_their_own_times_score_above_those_shuffled():
    rows = [EPOCH] * 28
    events = [[["spindles", float(second), 1.0]] for second in range(28)]
    texts = [f"A spindle at {second} s." for second in range(28)]
    stages = [SleepStage.N2] * 28
    known = score_faithfulness(texts, rows, stages, stages, event_rows=events)
    assert known["precision"] == 1.0
    assert known["shuffled"]["precision"] < 0.3
    unknown = score_faithfulness(texts, rows, stages, stages, event_rows=[None] * 28)
    assert unknown["num_not_checkable"] == 28


def test_what_is_no_event_is_refused():
    with pytest.raises(ValueError, match=re.escape("['spindles', 3.0] is no event")):
        check_rationale("Spindles.", EPOCH, [["spindles", 3.0]])
    with pytest.raises(ValueError, match="1 rationales, 1 rows of evidence, 2 of events"):
        score_faithfulness(["Spindles."], [EPOCH], [None], [None], event_rows=[None, None])
