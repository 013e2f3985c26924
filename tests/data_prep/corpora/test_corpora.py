import re

import numpy as np
import pytest

from data_prep.corpora import captions as corpora_captions
from data_prep.corpora import ecg as corpora_ecg
from data_prep.corpora import mcq as corpora_mcq
from data_prep.corpora.build import NamedSeries
from data_prep.simulators.ecg import FS_HZ
from tslm.answers.grammar import parse_answer, render_response
from tslm.data.prepared.corpora import read_corpus, write_corpus
from tslm.evidence import series as words
from tslm.evidence.ecg import measure_ecg
from tslm.evidence.measure import measure_evidence
from tslm.evidence.series import measure_series

BUILDERS = {
    "mcq": lambda num, seed: corpora_mcq.build_samples(num, seed, real_share=0.0),
    "captions": lambda num, seed: corpora_captions.build_samples(num, seed, real_share=0.0),
    "ecg": corpora_ecg.build_samples,
}
corpus = pytest.mark.parametrize("name", BUILDERS)


@pytest.fixture(scope="module")
def samples():
    return {name: list(build(num, 11)) for (name, build), num in zip(BUILDERS.items(), (110, 80, 70), strict=True)}


def _family(sample) -> str:
    return sample.sample_id.split("-")[-1]


@corpus
def test_samples_are_the_same_by_seed_and_differ_between_seeds(name):
    first, again, other = (list(BUILDERS[name](6, seed)) for seed in (1, 1, 2))
    for one, two in zip(first, again, strict=True):
        assert (one.sample_id, one.question, one.options, one.answer, one.rationale) == (
            two.sample_id,
            two.question,
            two.options,
            two.answer,
            two.rationale,
        )
        np.testing.assert_array_equal(one.series, two.series)
    assert not np.array_equal(first[0].series[0], other[0].series[0])
    assert len({sample.sample_id for sample in first + other}) == 12


@corpus
def test_a_longer_corpus_begins_with_the_shorter_one(name):
    shorter, longer = list(BUILDERS[name](2, 5)), list(BUILDERS[name](4, 5))
    assert [sample.sample_id for sample in longer[:2]] == [sample.sample_id for sample in shorter]


@corpus
def test_series_are_finite_and_1000_samples_long(samples, name):
    for sample in samples[name]:
        for values in sample.series:
            assert values.shape == (1000,)
            assert values.dtype == np.float32
            assert np.isfinite(values).all()


@pytest.mark.parametrize("name", ["mcq", "ecg"])
def test_every_answer_is_one_of_its_options_and_parses_back(samples, name):
    for sample in samples[name]:
        assert len(set(sample.options)) == len(sample.options) >= 2
        assert parse_answer(render_response(sample.rationale, sample.answer), sample.options) == sample.answer


def test_choice_answers_equal_a_fresh_measurement(samples):
    families = {family.name: family for family in corpora_mcq.FAMILIES}
    for sample in samples["mcq"]:
        series = NamedSeries(sample.series[0], "", sample.unit, 100.0 if sample.unit == "uV" else 0.0)
        assert families[_family(sample)].measure(corpora_mcq.Measured(series)) == sample.answer.split(") ", 1)[1]


def test_choice_letters_follow_the_order_shown_and_do_not_give_the_answer_away(samples):
    letters = [sample.answer[1] for sample in samples["mcq"] if len(sample.options) == 4]
    assert max(letters.count(letter) for letter in "abcd") < 0.45 * len(letters)
    for sample in samples["mcq"]:
        assert [option[:4] for option in sample.options] == [f"({letter}) " for letter in "abcde"][
            : len(sample.options)
        ]


def test_all_families_of_questions_occur(samples):
    assert {_family(sample) for sample in samples["mcq"]} == {family.name for family in corpora_mcq.FAMILIES}
    assert {_family(sample) for sample in samples["ecg"]} == {family.name for family in corpora_ecg.FAMILIES}


def test_questions_and_texts_are_short(samples):
    for sample in samples["mcq"] + samples["ecg"]:
        assert len(sample.question.split()) <= 16
    for sample in samples["captions"] + samples["ecg"]:
        assert 3 <= len(sample.rationale.split()) <= 45


def test_caption_statements_agree_with_measurement(samples):
    for sample in samples["captions"]:
        values, text = sample.series[0], sample.rationale.lower()
        facts = measure_series(values)
        if sample.unit == "uV":
            evidence = measure_evidence(values[None], 100.0)
            assert f"rms {evidence['rms_uv'][0]:.0f} uv" in text
            band = max(("delta", "theta", "alpha", "sigma", "beta"), key=lambda name: evidence[f"{name}_share"][0])
            assert re.search("delta|theta|alpha|sigma|beta", text).group(0) == band
            assert f"{100 * evidence[f'{band}_share'][0]:.0f}%" in text
            continue
        assert ("rises" in text) <= (words.trend_word(facts) == "rising")
        assert ("falls" in text) <= (words.trend_word(facts) == "falling")
        assert ("no spikes" in text) == (facts.num_spikes == 0)
        assert ("no regular cycle" in text) == (words.cycle_word(facts) == "no")
        if match := re.search(r"(\d+) samples", text):
            assert int(match.group(1)) == facts.period_samples
        for which, quarter in (("highest", words.highest_quarter(values)), ("lowest", words.lowest_quarter(values))):
            if match := re.search(rf"{which} (?:mean )?in the (\w+ quarter)", text):
                assert match.group(1) == quarter
        if match := re.search(r"between (\S+) and (\S+)\.(?: |$)", text):
            assert float(match.group(1)) == pytest.approx(values.min(), rel=0.06)
            assert float(match.group(2)) == pytest.approx(values.max(), rel=0.06)


def test_ecg_answers_and_figures_equal_a_fresh_measurement(samples):
    families = {family.name: family for family in corpora_ecg.FAMILIES}
    for sample in samples["ecg"]:
        leads = tuple(name.split()[1].rstrip(",") for name in sample.series_names)
        ecg = np.stack(sample.series)
        facts = measure_ecg(ecg, FS_HZ)
        family = families[_family(sample)]
        assert family.measure(corpora_ecg.EcgRecord(leads, ecg, facts)) == sample.answer
        if match := re.search(r"(\d+) beats", sample.rationale):
            assert int(match.group(1)) == facts.num_beats
        if match := re.search(r"mean rate is (\d+) bpm", sample.rationale):
            assert match.group(1) == f"{facts.rate_bpm:.0f}"


def test_the_number_of_leads_can_be_chosen():
    (sample,) = corpora_ecg.build_samples(1, 0, num_leads=12)
    assert len(sample.series) == 12
    (single,) = corpora_ecg.build_samples(1, 0, num_leads=1)
    assert single.series_names == ("Lead II, 100 Hz",)
    with pytest.raises(ValueError, match="num_leads is 13"):
        next(corpora_ecg.build_samples(1, 0, num_leads=13))


def test_real_series_carry_their_names_and_are_measured_too():
    pytest.importorskip("statsmodels", reason="the extra `ecg` is not installed")
    drawn = list(corpora_captions.build_samples(30, 3, real_share=1.0))
    assert len({sample.series_names[0].split(",")[0] for sample in drawn}) >= 5
    assert all("drawn out to 1000" in sample.series_names[0] and sample.rationale for sample in drawn)


def test_a_corpus_survives_the_disk(tmp_path, samples):
    for name in BUILDERS:
        write_corpus(samples[name][:5], tmp_path / name, "train")
        read = read_corpus(tmp_path / name, "train")
        assert [sample.answer for sample in read] == [sample.answer for sample in samples[name][:5]]
        np.testing.assert_array_equal(read[0].series[0], samples[name][0].series[0])
