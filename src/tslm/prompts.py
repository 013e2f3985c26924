"""Prompts of each task: the text before and after the series.

A sample reads: pre_prompt, then for each series its own line of text and its tokens, then
post_prompt, then the response. The collator tokenises the pieces separately, so every piece but
the first starts with the white space that separates it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tslm.answers.grammar import ANSWER_PREFIX


@dataclass(frozen=True)
class Prompt:
    """Text around the series of one sample."""

    pre_prompt: str
    post_prompt: str


RATIONALE_STYLES = ("full", "brief")  # the default first; brief has a third of the tokens
STYLES = (*RATIONALE_STYLES, "guide")  # of prompts of sleep; guide: in the words of OpenTSLM's guide to stage 4


def render_series_text(name: str, mean: float, std: float, unit: str = "", style: str = STYLES[0]) -> str:
    """The line before a series. It states mean and standard deviation, which normalisation removes.

    In the style `guide` the series is called by the first word of its name: EEG for `EEG Fpz-Cz`.
    """
    if style == "guide":
        return f"\nThe following is the {name.split()[0]} time series, it has mean {mean:.4f} and std {std:.4f}:"
    of_unit = f" {unit}" if unit else ""
    return f"\n{name}, mean {mean:.2f} and std {std:.2f}{of_unit}:"


def render_sleep_prompt(
    answers: Sequence[str], epoch_s: float = 30, style: str = "full", facts_line: str = ""
) -> Prompt:
    """Sleep staging of one EEG epoch with a rationale (structure of the guide's section on prompts).

    Args:
        answers: names of the sleep stages.
        epoch_s: length of the epoch.
        style: one of STYLES.
        facts_line: what was measured in the epoch (`tslm.evidence.text.facts_line`); empty: nothing is stated.
    """
    check_style(style)
    names = ", ".join(answers)
    stated = f"\n{facts_line}" if facts_line else ""
    if style == "brief":
        return Prompt(
            f"Stage this {epoch_s:g}-second EEG epoch.",
            f"{stated}\nStages: {names}. Give the evidence, then the answer.\nRationale:",
        )
    if style == "guide":
        return _render_guide_prompt(names, epoch_s, stated)
    return Prompt(
        f"Below is one {epoch_s:g}-second epoch of sleep EEG. Decide which sleep stage it shows.\n"
        "How to proceed:\n"
        "- Judge the signal itself and assume no stage beforehand.\n"
        "- Work through what its amplitude, rhythms and waveforms say about the stage.\n"
        "- Write one connected paragraph, without lists or headings.\n"
        "- Name the stage only at the very end.\n"
        "- Always commit to a rationale and to one stage.",
        f"{stated}\nThe stage is one of: {names}.\n"
        f"Write the rationale now and finish with '{ANSWER_PREFIX}' followed by the stage.\nRationale:",
    )


def _render_guide_prompt(names: str, epoch_s: float, stated: str) -> Prompt:
    """The prompt of the guide to stage 4 of OpenTSLM, with which its checkpoints were trained.

    SPDX-FileCopyrightText: 2025 Stanford University, ETH Zurich, and the project authors. SPDX-License-Identifier: MIT.
    """
    return Prompt(
        f"You are given a {epoch_s:g}-second EEG time series segment. Your task is to classify the sleep stage based "
        "on analysis of the data.\n\n"
        "Instructions:\n"
        "- Analyze the data objectively without presuming a particular label.\n"
        "- Reason carefully and methodically about what the signal patterns suggest regarding sleep stage.\n"
        "- Write your reasoning as a single, coherent paragraph. Do not use bullet points, lists, or section headers.\n"
        "- Only reveal the correct class at the very end.\n"
        "- Never state that you are uncertain or unable to classify the data. You must always provide a rationale and "
        "a final answer.\n",
        f"{stated}\nPossible sleep stages are:\n{names}\n\n"
        "- Please now write your rationale. Make sure that your last word is the answer. You MUST end your response "
        f'with "{ANSWER_PREFIX} "',
    )


def render_staging_question(answers: Sequence[str], epoch_s: float, with_rationale: bool) -> Prompt:
    """Sleep staging of one epoch described in words, for a language model without training on it."""
    reason = "Give your reasons in one or two sentences and end" if with_rationale else "Reply"
    return Prompt(
        f"You score sleep. This is what is known of one {epoch_s:g}-second epoch of a sleep recording.",
        f"\nWhich sleep stage is it: {', '.join(answers)}?\n{reason} with '{ANSWER_PREFIX}' and the stage.\n",
    )


def render_choice_prompt(question: str, options: Sequence[str]) -> Prompt:
    """Multiple choice about any series."""
    listed = "\n".join(options)
    return Prompt(
        f"Question about a time series: {question}",
        f"\nOptions:\n{listed}\nChoose one and reply '{ANSWER_PREFIX}' with it.",
    )


def render_caption_prompt() -> Prompt:
    """Description of any series."""
    return Prompt("Describe the following time series.", "\nDescription:")


def render_ecg_prompt(question: str, options: Sequence[str], with_rationale: bool = True) -> Prompt:
    """A question about an ECG, answered with a rationale where the corpus has them."""
    task = "Give the evidence, then the answer.\nRationale:" if with_rationale else f"Reply '{ANSWER_PREFIX}' with it."
    return Prompt(
        f"Read this ECG and answer: {question}",
        f"\nThe answer is one of: {', '.join(options)}. {task}",
    )


def check_style(style: str, known: Sequence[str] = STYLES) -> None:
    """Raise ValueError when a style is not one of the known ones: STYLES of prompts, RATIONALE_STYLES of rationales."""
    if style not in known:
        raise ValueError(f"style {style!r}: wanted one of: {', '.join(known)}")
