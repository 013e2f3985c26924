import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tslm.answers.grammar import (
    parse_answer,
    render_answer,
    render_response,
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
        ("**Answer**: `N2`", "Non-REM stage 2"),
        ("Answer: **N2**.", "Non-REM stage 2"),
        ("## Answer: *REM*", "REM sleep"),
        ("Answer:\nREM", "REM sleep"),
        ("**Answer:**\n\n**Wake**\n\nIn short, alpha.", "Wake"),
        ("ANSWER: n3", "Non-REM stage 3"),
        ('{"rationale": "Spindles.", "answer": "N2"}', "Non-REM stage 2"),
        ("<answer>N2</answer>", "Non-REM stage 2"),
        ("Answer: $\\boxed{N2}$", "Non-REM stage 2"),
        ("Answer: Non\u2011REM stage 1 (N1)", "Non-REM stage 1"),
        ("Answer: REM (rapid eye movement) sleep", "REM sleep"),
        ("Answer: NREM sleep, stage 2", "Non-REM stage 2"),
        ("Answer: stage 3/4", "Non-REM stage 3"),
        ("Answer: Wake, since alpha prevails", "Wake"),
        ("Answer: N2, since there are spindles", "Non-REM stage 2"),
        ("Answer: N2 because N3 would need more slow waves", "Non-REM stage 2"),
        ("Answer: N2 with K-complexes", "Non-REM stage 2"),
        ("Answer: the epoch is N2.", "Non-REM stage 2"),
        ("Answer: This epoch is most likely stage two.", "Non-REM stage 2"),
        ("Answer: N2. The spindles decide, though REM was considered.", "Non-REM stage 2"),
        ("Answer: N2 (light sleep)", "Non-REM stage 2"),
        ("Answer: N2 (not N3)", "Non-REM stage 2"),
        ("Answer: N2, not REM", "Non-REM stage 2"),
        ("Answer: N2 rather than N3", "Non-REM stage 2"),
        ("Answer: N2 and not N3", "Non-REM stage 2"),
        ("Answer: not REM but N2", "Non-REM stage 2"),
        ("Answer: not N1 or N2 but REM", "REM sleep"),
        ("Answer: neither N1 nor N2; it is REM", "REM sleep"),
        ("The answer is N2", "Non-REM stage 2"),
        ("So the correct answer is **Wake**.", "Wake"),
        ("Final answer - N2", "Non-REM stage 2"),
        ("Answer: N1. Final answer: N2", "Non-REM stage 2"),
        ("Answer: N2\n\nThe answer is based on the spindles.", "Non-REM stage 2"),
        ("The answer is not REM, perhaps. The answer is N3. Answer: N2", "Non-REM stage 2"),
        ("Final answer: N1, but noAnswer: N2", "Non-REM stage 2"),
        ("Answer: N2. Answer: stage 2", "Non-REM stage 2"),
        ("Answer: N2\nAnswer:", "Non-REM stage 2"),
        ("Answer: Wake\nNo, wrong. Answer: REM sleep", "REM sleep"),
        ("Wake", "Wake"),
        ("**N2**.", "Non-REM stage 2"),
    ],
)
def test_an_answer_in_free_text_is_read_as_a_person_would(response, answer):
    assert parse_answer(response, AASM) == answer


@pytest.mark.parametrize(
    "answer",
    [
        "Wake or REM sleep",
        "N2 or N3",
        "N2/N3",
        "N1-2",
        "N2 - N3",
        "N2, N3",
        "N2 and N3",
        "N2 and more",
        "N2 and",
        "N2 (N3)",
        "either N1 or N2",
    ]
    + [
        "N2, possibly N3",
        "N2. Or N3.",
        "N2. No, N3.",
        "not REM",
        "no REM",
        "not-REM",
        "cannot be N2",
        "neither N1 nor N2",
    ]
    + [
        "NREM sleep",
        "non-REM",
        "light sleep",
        "Movement",
        "2",
        "stage",
        "stage 5",
        "2.5",
        "stage 2.5",
        "stage -2",
        "N4x",
    ]
    + ["unclear", "unclear, N2?", "between N2 and N3", "transition to N2", "a REM-like stage", "Wake up", "W N1"]
    + ["", "<|end_of_text|>", ".", "**", "Wake. Answer: N2", "N2. Answer: unclear", "<sleep stage>"],
)
def test_what_is_not_one_clear_answer_is_none(answer):
    assert parse_answer(f"Spindles. Answer: {answer}", AASM) is None


@pytest.mark.parametrize(
    "response",
    ["", "It is Wake", "The epoch is N2.", "N2 or N3", "REM sleep was considered", "The answer is not REM"]
    + ["Answer: N2. The answer is N3", "Slow waves, as in N3. Answer:", "Most likely sleep stage: N2"],
)
def test_a_response_without_one_statement_of_its_answer_is_none(response):
    assert parse_answer(response, AASM) is None


@pytest.mark.parametrize(
    "spelling",
    ["(b)", "b)", "B", "(B).", "(b) a falling trend", "(B) A falling trend.", "b: a falling trend", "A falling trend"]
    + ["option (b)", "b, as it falls", "**(b)** because it falls", "The answer is b", "not (a) but (b)"],
)
def test_a_lettered_option_matches_by_letter_or_whole(spelling):
    assert parse_answer(f"Answer: {spelling}", LETTERED) == LETTERED[1]


@pytest.mark.parametrize(
    "text",
    ["(d)", "(b) a rising trend", "a falling", "bb", "(ab)", "(a) or (b)", "(a), (b)", "a b", "trend", "(b) rising"],
)
def test_a_letter_with_foreign_text_is_no_answer(text):
    assert parse_answer(f"Answer: {text}", LETTERED) is None


def test_options_that_differ_in_case_only_need_the_exact_case():
    assert parse_answer("Answer: a", ["A", "a"]) == "a"
    assert parse_answer("Answer: **a**", ["A", "a"]) is None


def test_the_letter_alone_answers_a_question_with_lettered_options():
    assert parse_answer("(b)<|end_of_text|>", ["A", "B", "C", "D"]) == "B"
    assert parse_answer("(b) since it falls", ["A", "B", "C", "D"]) is None


NESTED = (
    "none",
    "no",
    "yes",
    "none of block",
    "lead I",
    "lead II",
    "walking",
    "walking_down",
    "st/t change",
)


@pytest.mark.parametrize("option", NESTED)
@pytest.mark.parametrize(
    "dress", ["{}", "**{}**.", "the {}", "it is {}, as seen", "{} (clearly)", "{} because of the rhythm"]
)
def test_an_option_inside_another_is_not_mixed_up_with_it(option, dress):
    assert parse_answer(f"Answer: {dress.format(option)}", NESTED) == option


@pytest.mark.parametrize(
    "text", ["none of the above", "lead III", "walking up", "no sinus rhythm", "yes/no", "st change"]
)
def test_a_part_of_an_option_or_more_than_one_is_no_answer(text):
    assert parse_answer(f"Answer: {text}", NESTED) is None


@pytest.mark.parametrize("label_set", LABEL_SETS.values(), ids=lambda label_set: label_set.name)
@given(data=st.data())
def test_a_dressed_answer_parses_to_itself_and_two_different_ones_to_none(label_set, data):
    one, other = data.draw(st.permutations(label_set.answers))[:2]
    dress = data.draw(st.sampled_from(["{}", "**{}**", "{}.", "the epoch is {}", "{}, as measured", "not {1} but {0}"]))
    said = dress.format(one, other)
    assert parse_answer(render_response("Measured.", said), label_set.answers) == one
    joint = data.draw(st.sampled_from([" or ", "/", ", ", " and ", " (", "; ", ". Answer: "]))
    assert parse_answer(render_response("Measured.", one + joint + other), label_set.answers) is None


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


def test_free_form_output_of_a_general_model_parses_to_the_stage_it_names_before():
    options = LABEL_SETS["aasm_movement"].answers
    for row in read_reference("sleep_cot_first465.jsonl"):
        text = row["gemma3_4b_baseline_output"]
        named = re.search(r"Most likely sleep stage:\*\* (.+)", text)[1]
        assert parse_answer(text, options) == named.strip()
        assert parse_answer(split_response(text)[0], options) is None


@pytest.mark.parametrize("name", ["ecg_first100.jsonl", "har_first100.jsonl", "tsqa_first100.jsonl"])
def test_reference_answers_of_other_tasks_are_among_their_options(name):
    for row in read_reference(name):
        assert parse_answer(row["ground_truth"], row["answer_vocab"]) in row["answer_vocab"]


FINDINGS = ("none", "sinus rhythm", "bigeminal pattern (unknown origin, supraventricular, or ventricular)", "lead I")


def test_an_answer_named_twice_is_one():
    assert parse_answer("Answer: lead I; lead I", FINDINGS) == "lead I"


@pytest.mark.parametrize("text", ["none; lead I", "none, lead I and sinus rhythm", "none or lead I", "none; fine", ";"])
def test_several_answers_are_none(text: str) -> None:
    assert parse_answer(f"Answer: {text}", FINDINGS) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Answer: REM sleep\nAnswer: REM sl", "REM sleep"),
        ("Answer: Non-REM stage 2. Answer: Non", "Non-REM stage 2"),
        ("Answer: N2 Answer: Non-REM sta", "Non-REM stage 2"),
        ("Answer: Wake Answer:", "Wake"),
        ("Answer: Wake Answer: Non-REM st", None),
        ("Answer: Non-REM st Answer: Wake", "Wake"),
        ("Answer: Non-REM sta", None),
    ],
)
def test_a_last_repetition_that_is_cut_off_takes_nothing_back(text: str, answer: str | None) -> None:
    assert parse_answer(f"Spindles. {text}", AASM) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("light sleep (N2)", "Non-REM stage 2"),
        ("transitional sleep (N1)", "Non-REM stage 1"),
        ("quiet wakefulness with alpha", "Wake"),
        ("N 3 (slow wave sleep)", "Non-REM stage 3"),
        ("Stage 0 (wake)", "Wake"),
    ],
)
def test_a_wording_that_a_person_reads_is_read(text: str, answer: str) -> None:
    assert parse_answer(f"Answer: {text}", AASM) == answer


@pytest.mark.parametrize("text", ["slow-wave sleep", "SWS (NREM)", "NREMS", "N2"])
def test_any_non_rem_sleep_is_the_one_of_a_rodent(text: str) -> None:
    assert parse_answer(f"Answer: {text}", LABEL_SETS["rodent"].answers) == "NREM sleep"
