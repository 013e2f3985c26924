import io
import sys

import pytest

from tslm import progress_bar as module
from tslm.progress_bar import LOG_EVERY_S, progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock of seconds for bars and their log."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(module.time, "time", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def test_a_log_gets_a_line_each_ten_seconds_at_most_and_the_last_state(
    capsys: pytest.CaptureFixture, clock: list[float]
) -> None:
    with progress_bar(total=1000, desc="work") as bar:
        for step in range(1000):
            clock[0] += 0.05
            bar.update()
            bar.set_postfix(loss=step)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1000 * 0.05 / LOG_EVERY_S
    assert all(line.startswith("work:") and line.isprintable() for line in lines)
    assert "1000/1000" in lines[-1]


def test_a_quick_loop_leaves_one_line_and_a_bar_that_is_not_left_none(
    capsys: pytest.CaptureFixture, clock: list[float]
) -> None:
    assert list(progress_bar(range(5), desc="kept")) == list(range(5))
    assert list(progress_bar(range(5), desc="wiped", leave=False)) == list(range(5))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kept: 100%")


def test_bars_inside_others_write_no_empty_lines(capsys: pytest.CaptureFixture, clock: list[float]) -> None:
    for _ in progress_bar(range(3), desc="outer"):
        for _ in progress_bar(range(30), desc="inner"):
            clock[0] += 1
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith(("outer:", "inner:")) for line in lines)
    assert 3 <= len(lines) <= 13


def test_a_terminal_gets_a_bar_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    list(progress_bar(range(5)))
    assert terminal.getvalue().startswith("\r")
    assert terminal.getvalue().count("\n") == 1
