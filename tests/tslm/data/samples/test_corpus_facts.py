"""The line of measured facts in the prompts of corpora."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep.corpora import captions, ecg, mcq
from tests.factories.small import small_config, small_ecg_sample, small_sample
from tslm.data.prepared.corpora import CorpusSample, parse_lead, read_corpus, render_lead, write_corpus
from tslm.data.samples.corpus_facts import list_ecg_evidence, state_ecg_facts, state_series_facts
from tslm.data.samples.dataset import TASKS, build_dataset, has_facts_line
from tslm.evidence.ecg import FAST_BPM, PAUSE_S, SLOW_BPM
from tslm.evidence.text.captions import state_series
from tslm.models.llm.store import find_embedded_dir

RECORD = small_ecg_sample([0.8] * 12)
WITH_FACTS = [name for name, task in TASKS.items() if task.facts]
BUILDERS = {"choice": mcq.build_samples, "caption": captions.build_samples, "ecg": ecg.build_samples}


def _dataset(folder: Path, task: str, facts: str, samples: list[CorpusSample] | None = None):
    write_corpus(samples or [RECORD], folder, "train")
    return build_dataset(small_config(stage__task=task, stage__facts=facts, stage__train_dir=str(folder)), "train")


@pytest.mark.parametrize("task", ["choice", "caption", "ecg"])
def test_the_line_stands_between_series_and_question_and_nothing_else_changes(task, tmp_path):
    stated, plain = (_dataset(tmp_path / facts, task, facts)[0] for facts in ("measured", "none"))
    added = stated.post_prompt.removesuffix(plain.post_prompt)
    assert added.startswith("\nMeasured: ")
    assert added.endswith(".")
    assert added.count("\n") == 1
    assert (stated.pre_prompt, stated.response, stated.options) == (plain.pre_prompt, plain.response, plain.options)
    assert [one.text for one in stated.series] == [one.text for one in plain.series]


@pytest.mark.parametrize("task", ["choice", "caption", "ecg"])
def test_the_prompts_of_corpora_have_no_line_by_default(task, tmp_path):
    assert "Measured" not in _dataset(tmp_path, task, "")[0].post_prompt


def test_the_line_of_an_ecg_lists_its_facts_in_the_words_of_rationales():
    assert state_ecg_facts(RECORD) == (
        "13 beats, RR intervals run from 0.80 to 0.80 s, vary by 0%, median 0.80 s, shortest not far below, "
        "mean rate is 75 bpm, holds from 75 to 75, R wave 1.0 mV in lead II"
    )


def _read_figures(text: str) -> set[str]:
    return set(re.findall(r"-?\d+(?:\.\d+)?", text.replace("V5", "")))


def test_every_measured_figure_of_a_rationale_stands_in_its_line():
    for sample in ecg.build_samples(60, 5):
        cited = _read_figures(sample.rationale) - {f"{SLOW_BPM}", f"{FAST_BPM}", f"{PAUSE_S}"}
        if "R wave" in sample.rationale:
            cited = _read_figures(sample.rationale.split(" and ")[0])  # the line has the tallest one only
        assert cited
        assert cited <= _read_figures(state_ecg_facts(sample))


def test_every_statement_of_a_caption_is_that_of_its_line_in_one_of_its_wordings():
    for sample in captions.build_samples(60, 6, real_share=0.0):
        statements = state_series(sample.series[0], sample.fs_hz)
        said = [wordings for name, wordings in statements.items() if name != "smoothness"][:5]
        sentences = sample.rationale.removesuffix(".").split(". ")
        for sentence, wordings in zip(sentences, said, strict=True):
            assert sentence.lower() in [wording.lower() for wording in wordings]
        assert state_series_facts(sample) == ", ".join(wordings[0] for wordings in statements.values())


@pytest.mark.parametrize("task", BUILDERS)
def test_a_line_takes_at_most_75_tokens(task):
    tokenizers = pytest.importorskip("tokenizers")
    path = find_embedded_dir("smollm2-135m") / "tokenizer.json"
    if not path.is_file():
        pytest.skip("smollm2-135m is not downloaded")
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    state = state_ecg_facts if task == "ecg" else state_series_facts
    options = {} if task == "ecg" else {"real_share": 0.0}
    assert max(len(tokenizer.encode(state(sample)).ids) for sample in BUILDERS[task](40, 1, **options)) <= 75


def test_two_records_or_two_series_are_stated_under_their_names():
    other = small_ecg_sample([0.5] * 12)
    names = tuple(render_lead(lead, 100, record) for record in ("First ECG", "Second ECG") for lead in ("II", "V5"))
    both = replace(RECORD, series=RECORD.series + other.series, series_names=names)
    assert state_ecg_facts(both) == f"First ECG: {state_ecg_facts(RECORD)}. Second ECG: {state_ecg_facts(other)}"
    two = small_sample(0, "choice", 2)
    assert state_series_facts(two).startswith("Series 0: ")
    assert ". Series 1: " in state_series_facts(two)


@pytest.mark.parametrize("record", ["", "First ECG"])
@pytest.mark.parametrize("lead", ["II", "aVR", "V5"])
@pytest.mark.parametrize("fs_hz", [100, 500.0, 62.5])
def test_the_name_of_a_lead_parses_back(lead, fs_hz, record):
    assert parse_lead(render_lead(lead, fs_hz, record)) == (record, lead)


def test_another_name_is_that_of_a_lead():
    assert parse_lead("Chest") == ("", "Chest")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"series": (np.zeros(1000, np.float32),) * 2}, "the record is flat"),
        ({"series": tuple(values[:60] for values in RECORD.series)}, "0.6 s long, 1 s is needed"),
        ({"series": tuple(values[:110] for values in RECORD.series)}, "beats found, 3 are needed"),
        ({"series": (RECORD.series[0], RECORD.series[1][:-1])}, "the leads differ in length"),
    ],
)
def test_an_unmeasurable_record_says_so_and_why_and_states_no_figure(changes, reason, tmp_path):
    sample = replace(RECORD, **changes)
    assert state_ecg_facts(sample).startswith("not measurable, ")
    assert reason in state_ecg_facts(sample)
    assert "bpm" not in state_ecg_facts(sample)
    assert list_ecg_evidence(sample) == {}
    assert "evidence" not in _dataset(tmp_path, "ecg", "measured", [sample]).describe(0)


def test_an_unmeasurable_series_says_so_and_why():
    flat = replace(small_sample(0), series=(np.ones(100, np.float32),))
    assert state_series_facts(flat) == "not measurable, the series is flat"


def test_a_rhythm_is_stated_of_signals_in_microvolt_only():
    (signal,) = (sample for sample in captions.build_samples(5, 3, 0.0, 1.0) if sample.sample_id.endswith("-0"))
    assert state_series_facts(signal).startswith("RMS ")
    assert "RMS" not in state_series_facts(replace(signal, unit="mV"))


def test_r_heights_are_stated_in_millivolt_only():
    assert "R wave" not in state_ecg_facts(replace(RECORD, unit=""))


def test_predictions_of_ecgs_carry_their_measured_figures_with_and_without_the_line(tmp_path):
    for facts in ("measured", "none"):
        evidence = _dataset(tmp_path / facts, "ecg", facts).describe(0)["evidence"]
        assert evidence == list_ecg_evidence(RECORD)
        assert evidence["rate_bpm"] == pytest.approx(75, abs=0.5)
    assert "evidence" not in _dataset(tmp_path / "choice", "choice", "measured").describe(0)


def test_facts_of_a_corpus_without_rates_are_refused_until_it_is_prepared_again(tmp_path):
    write_corpus([RECORD], tmp_path, "train")
    path = tmp_path / "train.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["fs_hz"]), path)
    assert read_corpus(tmp_path, "train")[0].fs_hz == 0.0
    config = small_config(stage__task="ecg", stage__train_dir=str(tmp_path))
    assert "evidence" not in build_dataset(config, "train").describe(0)
    with pytest.raises(ValueError, match="does not state the sampling rate.*prepare the corpus again"):
        build_dataset(small_config(stage__task="ecg", stage__train_dir=str(tmp_path), stage__facts="measured"), "train")


def test_an_ecg_of_unknown_rate_is_refused_by_name():
    with pytest.raises(ValueError, match=r"ecg states no sampling rate \(fs_hz\)"):
        state_ecg_facts(replace(RECORD, fs_hz=0.0))


def test_a_setting_that_does_not_exist_or_a_task_without_facts_is_refused():
    with pytest.raises(ValueError, match="stage.facts=some; wanted one of: measured, none"):
        small_config(stage__facts="some")
    with pytest.raises(ValueError, match="the task night has no facts"):
        has_facts_line(small_config(stage__task="night", stage__facts="measured").stage)
    assert not has_facts_line(small_config(stage__task="night", stage__facts="none").stage)
    assert {"choice", "caption", "ecg"} <= set(WITH_FACTS)
