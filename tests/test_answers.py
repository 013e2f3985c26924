import json
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tslm.answers import (
    parse_answer,
    render_answer,
    render_answers,
    render_response,
    split_answers,
    split_response,
)
from tslm.labels import LABEL_SETS

AASM = LABEL_SETS["aasm"].answers
LETTERED = ("(a) a rising trend", "(b) a falling trend", "(c) no trend")
one_line = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=30)
option = one_line.map(str.strip).filter(lambda text: text and "<" not in text and "Answer:" not in text)


@given(st.text(max_size=60), st.lists(option, min_size=1, max_size=6, unique=True), st.data())
@example("", ["-5", "-5.", "*"], None)
def test_a_rendered_answer_parses_to_itself(rationale, options, data):
    for answer in options if data is None else [data.draw(st.sampled_from(options))]:
        assert parse_answer(render_response(rationale, answer), options) == answer


@given(st.text(max_size=60).filter(lambda text: "Answer:" not in text), option)
def test_a_response_splits_into_what_it_was_rendered_from(rationale, answer):
    assert split_response(render_response(rationale, answer)) == (rationale.strip(), answer)


def test_a_task_without_answer_has_the_rationale_alone():
    assert render_response("A rising line.", "") == "A rising line."
    assert split_response("A rising line.") == ("A rising line.", "")


@pytest.mark.parametrize("label_set", LABEL_SETS.values(), ids=lambda label_set: label_set.name)
@pytest.mark.parametrize("end", ["", ".", "<|end_of_text|>", "</s>", "<end_of_turn>\n", "\n\nThe next question"])
def test_every_stage_parses_with_end_tokens_and_text_after_the_line(label_set, end):
    for answer in label_set.answers:
        assert parse_answer(f"Slow waves. {render_answer(answer)}{end}", label_set.answers) == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("Answer: N2", "Non-REM stage 2"),
        ("**Answer:** Non-REM stage 4", "Non-REM stage 3"),
        ("Answer:\nREM", "REM sleep"),
        ("Answer: Wake\nNo, wrong. Answer: REM sleep", "REM sleep"),
        ("Answer: Non\u2011REM stage 1 (N1)", "Non-REM stage 1"),
        ("Answer: Wake or REM sleep", None),
        ("Answer: Wake, since alpha prevails", None),
        ("Answer: NREM sleep", None),  # not a stage of this label set
        ("Answer: Movement", None),
        ("Answer: 2", None),
        ("Answer:", None),
        ("Answer: <|end_of_text|>", None),
        ("It is Wake", None),
        ("", None),
    ],
)
def test_stages_in_free_text(response, answer):
    assert parse_answer(response, AASM) == answer


@pytest.mark.parametrize("spelling", ["(b)", "b)", "B", "(B).", "(b) a falling trend", "(B) A falling trend."])
def test_a_lettered_option_matches_by_letter_or_whole(spelling):
    assert parse_answer(f"Answer: {spelling}", LETTERED) == LETTERED[1]


@pytest.mark.parametrize("text", ["(d)", "(b) a rising trend", "a falling", "bb", "(ab)"])
def test_a_letter_with_foreign_text_is_no_answer(text):
    assert parse_answer(f"Answer: {text}", LETTERED) is None


def test_options_that_differ_in_case_only_need_the_exact_case():
    assert parse_answer("Answer: a", ["A", "a"]) == "a"
    assert parse_answer("Answer: **a**", ["A", "a"]) is None


@given(st.text(max_size=80))
def test_no_text_breaks_the_parser_and_every_answer_is_an_option(text):
    assert parse_answer(f"Answer: {text}", AASM) in {None, *AASM}


def read_reference(name):
    if "TSLM_DATA_DIR" not in os.environ:
        pytest.skip("set TSLM_DATA_DIR to read the reference rationales of OpenTSLM")
    path = Path(os.environ["TSLM_DATA_DIR"]) / "opentslm_text" / name
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_reference_rationales_parse_to_their_label():
    rows = read_reference("sleep_cot_first465.jsonl")
    labelled = [row for row in rows if row["label"] is not None]  # one row ends in "Answer: ."
    assert len(labelled) == len(rows) - 1 == 464
    for row in labelled:
        label = row["label"].replace("stage 4", "stage 3")  # R&K stage 4 is N3
        assert parse_answer(row["rationale"], AASM) == label
    assert [parse_answer(row["rationale"], AASM) for row in rows if row["label"] is None] == [None]


def test_free_form_output_of_a_general_model_parses():
    options = LABEL_SETS["aasm_movement"].answers
    rows = read_reference("sleep_cot_first465.jsonl")
    assert all(parse_answer(row["gemma3_4b_baseline_output"], options) for row in rows)


@pytest.mark.parametrize("name", ["ecg_first100.jsonl", "har_first100.jsonl"])
def test_reference_answers_of_other_tasks_are_among_their_options(name):
    for row in read_reference(name):
        assert parse_answer(row["ground_truth"], row["answer_vocab"]) in row["answer_vocab"]


FINDINGS = ("none", "sinus rhythm", "bigeminal pattern (unknown origin, supraventricular, or ventricular)", "lead I")


@given(st.lists(st.sampled_from(FINDINGS), min_size=1, unique=True))
def test_several_answers_parse_back_in_any_order(answers: list[str]) -> None:
    rendered = render_answers(answers, FINDINGS)
    assert split_answers(rendered, FINDINGS) == tuple(sorted(answers, key=FINDINGS.index))
    assert parse_answer(f"Answer: {'; '.join(answers)}.", FINDINGS, several=True) == rendered


@pytest.mark.parametrize("text", ["none; lead I", "none; fine", "lead I; lead I", ";"])
def test_several_answers_parse_only_where_they_are_allowed_and_known(text: str) -> None:
    assert parse_answer(f"Answer: {text}", FINDINGS) is None
    assert (parse_answer(f"Answer: {text}", FINDINGS, several=True) is not None) == (text == "none; lead I")
