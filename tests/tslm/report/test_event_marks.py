import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories.pages import read_page, small_night, write_page
from tests.factories.rows import of_system
from tslm.data.events import recording_events
from tslm.evidence.criteria import RULES, Feature
from tslm.evidence.events import Event, parse_events, render_events
from tslm.predictions.scorings import parse_scorings
from tslm.report.charts import draw_waveform
from tslm.report.events import EVENT_NAMES, collect_events, pack_events, render_lanes
from tslm.report.night.document import build_night_document
from tslm.report.rationales import describe_rationale, find_rules, mark_rules, render_rules

KINDS = list(EVENT_NAMES)
EVENTS = st.lists(st.builds(Event, st.sampled_from(KINDS), st.floats(0, 29), st.floats(0.01, 1)), max_size=8)


def unpack(numbers):
    return [
        (KINDS[lane], onset / 100, duration / 100) for lane, onset, duration in np.reshape(numbers, (-1, 3)).tolist()
    ]


@given(EVENTS)
def test_the_document_places_an_event_within_a_hundredth_of_a_second(events):
    places = unpack(pack_events(events))
    assert [kind for kind, _, _ in places] == [event.kind for event in events]
    for (_, onset_s, duration_s), event in zip(places, events, strict=True):
        assert (onset_s, duration_s) == pytest.approx((event.onset_s, event.duration_s), abs=0.0051)


@given(EVENTS)
def test_each_event_is_marked_once_in_the_lane_of_its_kind_and_once_behind_the_trace(events):
    lanes = re.findall(r'<div class="lane event-(\w+)">(.*?)</div></div>', render_lanes(events, 30.0))
    assert [kind for kind, _ in lanes] == [kind for kind in KINDS if any(event.kind == kind for event in events)]
    marked = [
        (kind, float(left)) for kind, lane in lanes for left in re.findall(r'class="event" style="left:([\d.]+)%', lane)
    ]
    wanted = [(event.kind, 100 * event.onset_s / 30) for event in events]
    assert sorted(marked) == [(kind, pytest.approx(left, abs=0.01)) for kind, left in sorted(wanted)]
    bands = re.findall(r'class="band event-(\w+)" x="([\d.]+)"', draw_waveform(np.zeros(3000), 30.0, 100.0, events))
    assert [(kind, float(x)) for kind, x in bands] == [
        (event.kind, pytest.approx(1000 * event.onset_s / 30, abs=0.1)) for event in events
    ]


def test_events_come_from_the_rows_and_where_these_hold_none_from_the_signal():
    rows, recording = small_night()
    rows = of_system(rows)
    held = collect_events(rows, None)
    assert [len(events) for events in held] == [3] * 40
    assert collect_events(rows, recording) == held
    del rows[3]["events"], rows[7]["events"]
    measured = [parse_events(render_events(events)) for events in recording_events(recording)]
    mixed = collect_events(rows, recording)
    assert [mixed[idx] for idx in (3, 7)] == [measured[rows[idx]["epoch_idx"]] for idx in (3, 7)]
    assert [events for idx, events in enumerate(mixed) if idx not in (3, 7)] == held[:3] + held[4:7] + held[8:]
    assert [idx for idx, events in enumerate(collect_events(rows, None)) if events is None] == [3, 7]


def test_a_document_without_events_and_signals_says_that_places_are_not_known(tmp_path):
    rows, _ = small_night()
    assert build_night_document(parse_scorings(rows)).data["events"]["epochs"][0][:3] == [0, 300, 100]
    for row in of_system(rows):
        del row["events"]
    page = write_page(rows, tmp_path / "r.html")
    assert page.night["events"] is None
    assert "Where waveforms lie is not known" in page.text


@pytest.mark.parametrize(
    ("text", "resting"),
    [
        ("Two spindles.", [[0, 1]]),
        ("Spindle density is 4/min.", [[0, 1]]),
        ("A spindle at 12 s, a K-complex.", [[1], [2]]),
        ("No K-complexes, slow waves in 8%.", [[2], [3]]),
        ("RMS 12 uV, delta leads.", [[], []]),
    ],
)
def test_a_claim_rests_on_the_waveforms_of_its_feature_or_on_those_at_the_time_that_it_cites(text, resting):
    events = [
        Event(Feature.SPINDLES, 3.0, 1.0),
        Event(Feature.SPINDLES, 12.5, 0.8),
        Event(Feature.K_COMPLEXES, 20.0, 1.2),
        Event(Feature.SLOW_WAVES, 20.0, 1.2),
    ]
    evidence = {"spindle_count": 2, "spindle_density_per_min": 4, "k_complex_count": 1, "slow_wave_fraction": 0.08}
    evidence |= {"rms_uv": 12.0} | {f"{band}_share": 0.2 for band in ("delta", "theta", "alpha", "sigma", "beta")}
    assert [claim[3] for claim in describe_rationale(text, evidence, render_events(events))["claims"]] == resting
    assert not any(claim[3] for claim in describe_rationale(text, evidence)["claims"])


def test_a_cited_rule_stands_with_its_words_and_an_unknown_one_is_said_to_be_none():
    text = "Slow waves <past> a fifth (6.B), the K-complex (5.B); spindles (6.B, perhaps) (9.F)."
    assert find_rules(text) == {
        "(6.B)": ("6.B", RULES["6.B"].text),
        "(5.B)": ("5.B", RULES["5.B"].text),
        "(9.F)": ("9.F", "no rule of this name"),
    }
    marked = mark_rules(text)
    assert re.findall(r"<abbr[^>]*>(.*?)</abbr>", marked) == ["(6.B)", "(5.B)", "(9.F)"]
    assert re.sub(r"</?abbr[^>]*>", "", marked) == text.replace("<", "&lt;").replace(">", "&gt;")
    assert render_rules(text).count("<dt>") == 3
    assert render_rules("No rule.") == ""


def test_the_page_holds_the_words_of_the_rules_that_its_texts_cite(tmp_path):
    rows, recording = small_night()
    write_page(rows, tmp_path / "r.html", load_recording=lambda name: recording)
    night = read_page(tmp_path / "r.html").night
    assert night["rules"] == {"(5.B)": ["5.B", RULES["5.B"].text]}
