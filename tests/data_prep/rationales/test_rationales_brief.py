import re

import numpy as np
import pytest

from data_prep.rationales.compose import write_rationales
from tslm.answers.grammar import parse_answer, render_response
from tslm.evidence import words
from tslm.evidence.measure import BANDS_HZ
from tslm.evidence.text.closing import CLOSING_PREFIX
from tslm.evidence.text.facts_line import FACTS_PREFIX, render_facts_line
from tslm.explain.faithfulness import check_rationale
from tslm.labels import ANSWER_NAMES, SleepStage

NUM_EPOCHS = 600


@pytest.fixture(scope="module")
def rationales(evidence, sleep_stages):
    return write_rationales(evidence, sleep_stages, seed=3, style="brief")


def _written(rationales):
    return [(idx, text) for idx, text in enumerate(rationales) if text]


def test_only_stages_that_can_be_answered_get_a_rationale(rationales, sleep_stages):
    assert [bool(text) for text in rationales] == [stage in ANSWER_NAMES for stage in sleep_stages]


def test_every_figure_is_the_measured_value_rounded(rationales, evidence):
    for idx, text in _written(rationales):
        facts = {name: float(values[idx]) for name, values in evidence.items()}
        assert re.search(r"RMS (\d+) uV", text).group(1) == f"{facts['rms_uv']:.0f}"
        (_, share), (_, second_share) = words.rank_bands(words.round_facts(facts))[:2]
        sizes = [f"{facts['rms_uv']:.0f}", f"{facts['peak_to_peak_uv']:.0f}"]
        wanted = [*sizes, f"{100 * share:.0f}", f"{100 * second_share:.0f}"]
        if facts["artefact_fraction"] >= words.ARTEFACT_SOME:
            wanted.append(f"{100 * facts['artefact_fraction']:.0f}")
        assert re.findall(r"\d+", re.sub(r"for N\d|\(\d\.[A-F]\)|at only \d+%", "", text)) == wanted


def test_every_count_in_words_is_the_measured_count(rationales, evidence):
    seen = set()
    for idx, text in _written(rationales):
        for column, noun in (("spindle_count", "spindle"), ("k_complex_count", "K-complex")):
            match = re.search(rf"(?:at least (\w+)|(over ten)) {noun}", text, re.IGNORECASE)
            if match is not None:
                assert (match[1] or match[2].lower()) == words.count_word(int(evidence[column][idx])) != "no"
                seen.add(noun)
    assert seen == {"spindle", "K-complex"}


def test_the_leading_band_and_the_amplitude_word_are_measured(rationales, evidence):
    for idx, text in _written(rationales):
        leading = max(BANDS_HZ, key=lambda band: evidence[f"{band}_share"][idx])
        tied = [
            band
            for band in BANDS_HZ
            if round(100 * float(evidence[f"{band}_share"][idx]))
            == round(100 * float(evidence[f"{leading}_share"][idx]))
        ]
        first_band = re.search("|".join(BANDS_HZ), text.lower()).group(0)
        assert first_band in tied
        amplitude = words.amplitude_word(evidence["rms_uv"][idx])
        assert re.search(rf"{amplitude} amplitude", text.lower())


def test_words_on_slow_waves_and_alpha_agree_with_their_shares(rationales, evidence):
    for idx, text in _written(rationales):
        slow = round(float(evidence["slow_wave_fraction"][idx]), 2)
        alpha = round(float(evidence["alpha_fraction"][idx]), 2)
        lower = text.lower()
        assert ("few slow waves" in lower) == (slow < words.SLOW_WAVES_SOME)
        assert not ("under a fifth" in lower and slow >= 0.2)
        assert not (re.search("past? (past )?a fifth|pass a fifth", lower) and slow < 0.2)
        body = lower.partition(CLOSING_PREFIX.lower())[0]
        assert ("alpha rhythm" in body) == (alpha >= 0.2)


def test_only_the_closing_names_a_stage(rationales, sleep_stages):
    name = re.compile(r"\b(wake\w*|awake|n?rem|n[123]|stage|deep|light|movement time)\b", re.IGNORECASE)
    for idx, text in _written(rationales):
        body, closing_prefix, closing = text.partition(CLOSING_PREFIX)
        assert not name.search(body)
        assert not closing_prefix or closing.startswith(f" for {sleep_stages[idx].value}")
        assert "Answer" not in text


def test_answers_can_be_parsed_behind_any_rationale(rationales, sleep_stages):
    for idx, text in _written(rationales):
        answer = ANSWER_NAMES[sleep_stages[idx]]
        assert parse_answer(render_response(text, answer), tuple(ANSWER_NAMES.values())) == answer


def test_what_stands_before_the_closing_reason_does_not_depend_on_the_label(evidence):
    texts = [write_rationales(evidence, [stage] * NUM_EPOCHS, seed=3, style="brief") for stage in ANSWER_NAMES]
    for same_epoch in zip(*texts, strict=True):
        assert len({tuple(text.split(". ")[:2]) for text in same_epoch}) == 1


def test_the_body_is_made_of_phrases_of_the_facts_line(rationales, evidence):
    for idx, text in _written(rationales):
        line = render_facts_line(words.epoch_facts(evidence, idx), "human").removeprefix(FACTS_PREFIX).lower()
        stated = set(re.split(r"[,;.] ?", line))
        for sentence in text.split(". ")[:-1]:
            assert set(sentence.lower().removesuffix(".").split(", ")) <= stated, (text, line)


def test_rationales_are_short_and_varied(rationales):
    texts = [text for _, text in _written(rationales)]
    num_words = [len(text.split()) for text in texts]
    assert np.mean(num_words) <= 35
    assert max(num_words) <= 56
    assert len(set(texts)) > 0.9 * len(texts)


def test_one_thing_is_said_in_one_way_whatever_the_seed(rationales, evidence, sleep_stages):
    assert write_rationales(evidence, sleep_stages, seed=4, style="brief") == rationales


def test_rodent_texts_say_nothing_that_only_human_scalp_eeg_defines(evidence):
    for stage in (SleepStage.WAKE, SleepStage.NREM, SleepStage.REM):
        for text in write_rationales(evidence, [stage] * NUM_EPOCHS, seed=3, species="mouse", style="brief"):
            assert not re.search("spindle|k-complex|eye|alpha (at|over)", text.lower())


@pytest.mark.parametrize("species", ["human", "mouse"])
def test_the_checker_reads_and_confirms_every_claim(evidence, species):
    stages = ANSWER_NAMES if species == "human" else (SleepStage.WAKE, SleepStage.NREM, SleepStage.REM)
    for stage in stages:
        texts = write_rationales(evidence, [stage] * NUM_EPOCHS, seed=3, species=species, style="brief")
        for idx, text in enumerate(texts):
            facts = words.epoch_facts(evidence, idx)
            checked = check_rationale(text, facts)
            assert all(claim.verdict == "supported" for claim in checked.claims), (text, checked)
            # people: amplitude, RMS, two bands and their shares, slow waves, a reason;
            # rodents: RMS, two of three bands, fast activity, a reason
            assert len(checked.claims) >= (7 if species == "human" else 5)
