import re
from collections import Counter

import numpy as np
import pytest

from data_prep.cohorts.cohort import prepare_night
from data_prep.rationales.compose import add_rationales, compose_varied, write_rationales
from data_prep.rationales.wordings import REASONS, STATEMENTS, write_out
from data_prep.simulators.human.night import simulate_human_night
from tslm.answers.grammar import parse_answer, render_response
from tslm.data.events import recording_events
from tslm.data.evidence import MEASURED_COLUMNS
from tslm.evidence import words
from tslm.evidence.events import parse_events, render_events
from tslm.explain.claims.checks import check_claim
from tslm.explain.claims.read import TIMED, Relation, read_claims
from tslm.explain.faithfulness import check_rationale
from tslm.labels import ANSWER_NAMES, SleepStage

RODENT_STAGES = (SleepStage.WAKE, SleepStage.NREM, SleepStage.REM)
STAGE_NAMES = re.compile(
    r"\b(wake\w*|awake|n?rem|non-rem|n[123]|stages?|deep|light(er)?|sleep\w*|asleep|drows\w*|dream\w*|movement time)\b",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def rationales(evidence, sleep_stages):
    return write_rationales(evidence, sleep_stages, seed=3)


@pytest.fixture(scope="module")
def evidence_with_tone(evidence):
    rng = np.random.default_rng(8)
    tone = rng.lognormal(0, 0.6, len(evidence["rms_uv"]))
    return evidence | {"emg_tone": tone, "emg_rms_uv": 5 * tone}


def cut_into_tokens(text):
    """Words, numbers and punctuation marks, in small letters."""
    return re.findall(r"\d+(?:\.\d+)?%?|[a-z]+(?:-[a-z]+)*|[^\w\s]", text.lower())


def share_of_distinct_4_grams(texts):
    grams = [tuple(tokens[i : i + 4]) for tokens in map(cut_into_tokens, texts) for i in range(len(tokens) - 3)]
    return len(set(grams)) / len(grams)


def test_only_stages_that_can_be_answered_get_a_rationale(rationales, sleep_stages):
    assert [bool(text) for text in rationales] == [stage in ANSWER_NAMES for stage in sleep_stages]


@pytest.mark.parametrize("is_human", [True, False], ids=["human", "rodent"])
def test_the_checker_reads_and_confirms_every_claim_that_was_written(evidence_with_tone, events, is_human):
    for stage in ANSWER_NAMES if is_human else RODENT_STAGES:
        for idx in range(200):
            facts = words.epoch_facts(evidence_with_tone, idx)
            rationale = compose_varied(facts, stage, f"{stage}/{idx}", is_human, events[idx])
            claims = read_claims(rationale.text)
            stored = parse_events(render_events(events[idx]))
            verdicts = {check_claim(claim, facts, stored).verdict for claim in claims}
            assert verdicts == {"supported"}, rationale.text
            unread = Counter(map(str, rationale.features)) - Counter(str(claim.feature) for claim in claims)
            assert not unread, rationale.text
            assert len(claims) >= len(rationale.features) >= 6


def test_scarce_fast_activity_is_not_read_as_scarce_alpha_in_any_wording(evidence):
    facts = dict.fromkeys(evidence, 0.0) | {"rms_uv": 14.0, "dominant_hz": 2.0, "alpha_fraction": 0.3}
    facts |= {"delta_share": 0.6, "theta_share": 0.2, "alpha_share": 0.15, "sigma_share": 0.03, "beta_share": 0.02}
    for seed in range(1000):
        text = compose_varied(facts, SleepStage.N1, str(seed)).text
        assert {check_claim(claim, facts).verdict for claim in read_claims(text)} == {"supported"}, text


def test_times_are_said_of_many_epochs_with_few_waveforms_and_are_those_of_their_events(evidence, events):
    texts = write_rationales(evidence, [SleepStage.N2] * len(events), seed=3, events=events)
    num_timed = 0
    for idx, text in enumerate(texts):
        claims = [claim for claim in read_claims(text) if claim.relation == Relation.AT]
        num_timed += bool(claims)
        for feature in {claim.feature for claim in claims}:
            said_s = [claim.value for claim in claims if claim.feature == feature]
            assert said_s == [round(event.onset_s) for event in events[idx] if event.kind == feature]
            assert len(said_s) <= 3
    assert num_timed > 0.15 * len(texts)


def test_every_claim_about_a_prepared_night_is_confirmed_beside_its_rows_of_evidence_and_events():
    night = add_rationales(prepare_night(simulate_human_night(11, 0)), seed=0)
    measured = {name: values for name, values in night.columns.items() if name in MEASURED_COLUMNS}
    num_timed = 0
    for idx, (text, events) in enumerate(zip(night.columns["rationale"], recording_events(night), strict=True)):
        row = {name: float(values[idx]) for name, values in measured.items()}
        claims = check_rationale(text, row, render_events(events)).claims
        assert {item.verdict for item in claims} <= {"supported"}, text
        timed = [item for item in claims if item.claim.relation == Relation.AT]
        assert all(item.places for item in timed)
        num_timed += bool(timed)
    assert num_timed > 0.05 * night.num_epochs


def test_without_events_no_time_is_said_and_a_brief_text_says_none_with_them(evidence, events, sleep_stages):
    with_events = write_rationales(evidence, sleep_stages, seed=3, style="brief", events=events)
    assert with_events == write_rationales(evidence, sleep_stages, seed=3, style="brief")
    for text in write_rationales(evidence, sleep_stages, seed=3):
        assert not any(claim.relation in TIMED for claim in read_claims(text))


def test_columns_that_were_not_measured_go_unmentioned(evidence):
    fewer = {name: values for name, values in evidence.items() if not name.startswith(("sawtooth", "spindle_d"))}
    for text in write_rationales(fewer, [SleepStage.REM] * len(fewer["rms_uv"]), seed=0):
        assert not re.search("sawtooth|lasting|muscle tone", text)


def test_every_wording_of_every_row_is_read_as_the_claims_of_its_row(evidence_with_tone):
    """Alone, with the facts of epochs that have everything there is to say."""
    import random

    from data_prep.rationales.statements import fill_slots

    slots = fill_slots(words.epoch_facts(evidence_with_tone, 3), True) | {"spindles": "2 spindles", "spindle_s": "0.9"}
    slots |= {"k_complexes": "one K-complex", "eyes": "three eye movements", "slow": "12%", "alpha": "30%"}
    slots |= {
        "the_spindles": "the 2 spindles",
        "the_k_complexes": "the single K-complex",
        "the_eyes": "the 4 eye movements",
        "often": "at times",
        "spindle_times": "[3 s and 12 s|3 and 12 s]",
        "k_complex_times": "4 s",
        "eye_times": "[4 s, 9 s and 20 s|4, 9 and 20 s]",
    }
    for name, wording in [*STATEMENTS.items(), *REASONS.items()]:
        wanted = Counter(str(feature).format_map(slots) for feature in wording.features)
        for template in (*wording.clauses, *wording.phrases):
            for seed in range(8):
                text = write_out(template, slots, random.Random(seed).choice) + "."
                found = Counter(str(claim.feature) for claim in read_claims(text))
                assert not wanted - found, (name, text)
                assert set(found) <= set(wanted), (name, text)


def test_no_sentence_names_or_hints_the_answer(rationales):
    for text in rationales:
        hidden = re.sub(r"eye movements?", "", text)
        assert not STAGE_NAMES.search(hidden), text
        assert "Answer" not in text


def test_answers_can_be_parsed_behind_any_rationale(rationales, sleep_stages):
    for text, stage in zip(rationales, sleep_stages, strict=True):
        if text:
            answer = ANSWER_NAMES[stage]
            assert parse_answer(render_response(text, answer), tuple(ANSWER_NAMES.values())) == answer


@pytest.mark.parametrize(("species", "has_tone"), [("human", False), ("human", True), ("mouse", True)])
def test_more_than_three_tenths_of_the_4_grams_are_distinct(evidence_with_tone, sleep_stages, species, has_tone):
    """Fewer texts repeat less, so 600 are held to a higher share than the 1,000 of the log."""
    columns = {name: values for name, values in evidence_with_tone.items() if has_tone or "emg" not in name}
    stages = sleep_stages if species == "human" else [RODENT_STAGES[idx % 3] for idx in range(len(sleep_stages))]
    texts = write_rationales(columns, stages, seed=3, species=species)
    assert share_of_distinct_4_grams([text for text in texts if text]) > 0.35


def test_brief_rationales_are_less_varied(evidence, sleep_stages):
    brief = write_rationales(evidence, sleep_stages, seed=3, style="brief")
    assert share_of_distinct_4_grams([text for text in brief if text]) < 0.35


def test_sentences_come_in_many_orders(rationales):
    first_words = Counter(text.split()[0] for text in rationales if text)
    assert len(first_words) > 25
    assert first_words.most_common(1)[0][1] < 0.25 * len(rationales)


def test_rationales_have_the_length_of_a_note(rationales):
    num_words = [len(text.split()) for text in rationales if text]
    assert 48 < np.mean(num_words) < 65
    assert max(num_words) < 100


def test_what_stands_before_the_closing_does_not_depend_on_the_label(evidence):
    for idx in range(100):
        facts = words.epoch_facts(evidence, idx)
        texts = [compose_varied(facts, stage, f"0/{idx}").text for stage in (SleepStage.N2, SleepStage.WAKE)]
        num_same = next(n for n, (a, b) in enumerate(zip(*texts, strict=False)) if a != b)
        assert texts[0][:num_same].count(". ") >= 2


@pytest.mark.parametrize("stage", list(ANSWER_NAMES))
def test_a_label_that_the_evidence_denies_is_doubted(evidence, stage):
    facts = words.epoch_facts(evidence, 0) | {
        "slow_wave_fraction": 0.5 if stage != SleepStage.N3 else 0.0,
        "spindle_count": 0.0,
        "k_complex_count": 0.0,
        "artefact_fraction": 0.0,
    }
    if stage == SleepStage.NREM:
        facts |= {"slow_wave_fraction": 0.0, "delta_share": 0.1, "theta_share": 0.6}
    for seed in range(20):
        text = compose_varied(facts, stage, str(seed)).text
        assert re.search("against|oubt|ncertain|objection|thin ground|open|missing|borderline", text), text


def test_a_seed_gives_the_same_texts_again_and_another_gives_others(rationales, evidence, sleep_stages):
    assert write_rationales(evidence, sleep_stages, seed=3) == rationales
    assert write_rationales(evidence, sleep_stages, seed=4) != rationales


def test_rodent_texts_say_nothing_that_only_human_scalp_eeg_defines(evidence_with_tone):
    num_epochs = len(evidence_with_tone["rms_uv"])
    for stage in RODENT_STAGES:
        for text in write_rationales(evidence_with_tone, [stage] * num_epochs, seed=3, species="mouse"):
            assert not re.search(
                "spindle|k-complex|eye|alpha|sigma|slow wave|(low|high|moderate) amplitude", text.lower()
            )


def test_labels_of_another_length_are_refused(evidence):
    with pytest.raises(ValueError, match="600 epochs, but events of 600 and 1 labels"):
        write_rationales(evidence, [SleepStage.WAKE], seed=0)
    with pytest.raises(ValueError, match="600 epochs, but events of 1 and 600 labels"):
        write_rationales(evidence, [SleepStage.WAKE] * 600, seed=0, events=[[]])


def test_an_unknown_style_is_refused(evidence):
    with pytest.raises(ValueError, match="style 'long': wanted one of: full, brief"):
        write_rationales(evidence, [SleepStage.WAKE] * 600, seed=0, style="long")
