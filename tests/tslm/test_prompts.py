import numpy as np
import pytest

from tests.factories.small import CHANNEL, sleep_dataset, small_config
from tslm.prompts import RATIONALE_STYLES, STYLES, check_style, render_series_text, render_sleep_prompt


def test_the_guides_line_before_a_series_has_mean_and_deviation_to_four_decimals() -> None:
    assert (
        render_series_text("EEG Fpz-Cz", -0.123456, 21.98766, "uV", "guide")
        == "\nThe following is the EEG time series, it has mean -0.1235 and std 21.9877:"
    )


def test_a_prompt_in_the_guides_words_ends_where_the_rationale_begins() -> None:
    prompt = render_sleep_prompt(("Wake", "Non-REM stage 1"), 30, "guide")
    assert prompt.pre_prompt.startswith(
        "You are given a 30-second EEG time series segment. Your task is to classify the sleep stage based on analysis"
    )
    assert "\nPossible sleep stages are:\nWake, Non-REM stage 1\n" in prompt.post_prompt
    assert prompt.post_prompt.endswith('You MUST end your response with "Answer: "')
    stated = render_sleep_prompt(("Wake",), 30, "guide", "Measured: alpha.")
    assert stated.post_prompt.startswith("\nMeasured: alpha.\nPossible")


def test_samples_of_nights_are_asked_in_the_style_of_the_stage() -> None:
    example = sleep_dataset(small_config(stage__prompt_style="guide"))[3]
    (series,) = example.series
    assert series.text == (
        f"\nThe following is the {CHANNEL.split()[0]} time series, it has mean {np.mean(series.values_L):.4f} "
        f"and std {np.std(series.values_L):.4f}:"
    )


def test_rationales_have_no_style_of_the_guide() -> None:
    check_style("guide")
    assert set(RATIONALE_STYLES) < set(STYLES)
    with pytest.raises(ValueError, match="wanted one of: full, brief"):
        check_style("guide", RATIONALE_STYLES)
