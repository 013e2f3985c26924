import numpy as np
import pytest

from tslm.evidence.series import UnmeasurableError, measure_series
from tslm.evidence.text.captions import render_series_facts, state_series

TIME = np.arange(1000)


def _noise(scale: float = 1.0) -> np.ndarray:
    return scale * np.random.default_rng(0).normal(size=1000)


def test_a_series_is_stated_in_the_order_of_captions_and_in_their_first_wording():
    values = 0.005 * TIME + 2 * np.sin(2 * np.pi * TIME / 50) + _noise(0.5)
    values[700] += 20
    statements = state_series(values)
    assert [*statements] == ["level", "cycle", "spikes", "highest", "lowest"]
    period = measure_series(values).period_samples
    assert statements["cycle"] == (f"a cycle repeats every {period} samples", f"one cycle lasts about {period} samples")
    assert render_series_facts(values) == ", ".join(wordings[0] for wordings in statements.values())
    assert "one spike in the third quarter" in render_series_facts(values)


def test_what_is_too_near_its_threshold_is_left_out():
    assert "cycle" not in state_series(_noise() + 0.8 * np.sin(2 * np.pi * TIME / 50))
    assert "no regular cycle" in render_series_facts(_noise())
    assert "smooth" in render_series_facts(np.sin(2 * np.pi * TIME / 300))


def test_a_signal_with_a_rate_is_stated_by_its_rhythm():
    alpha = 20 * np.sin(2 * np.pi * 10 * TIME / 100) + _noise()
    assert render_series_facts(alpha, 100.0).startswith("RMS 14 uV, alpha holds most power, ")
    for others in (
        render_series_facts(alpha),
        render_series_facts(alpha[:300], 100.0),
        render_series_facts(alpha, 50.0),
    ):
        assert "alpha" not in others
        assert "between" in others


@pytest.mark.parametrize("fs_hz", [0.0, 100.0])
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full(1000, 3.0), "the series is flat"),
        (np.arange(10.0), "10 samples long, 32 samples are needed"),
        (np.full(100, np.nan), "NaN or infinite"),
    ],
)
def test_a_series_that_holds_nothing_is_refused_with_the_reason(values, reason, fs_hz):
    with pytest.raises(UnmeasurableError, match=reason):
        render_series_facts(values, fs_hz)
