import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tslm.training.runs.folder import RunLog, read_log


def write_log(path: Path, num_steps: int) -> RunLog:
    """A start, steps, and an event amid them."""
    log = RunLog(path)
    log.clear()
    log.append({"event": "start"})
    for step in range(1, num_steps + 1):
        log.append({"step": step, "loss": 1 / step})
        if step == 3:
            log.append({"event": "resume"})
    return log


def test_a_log_reads_back_what_was_appended(tmp_path: Path) -> None:
    write_log(tmp_path / "log.jsonl", 2)
    assert read_log(tmp_path / "log.jsonl") == [{"event": "start"}, {"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]


def test_a_cleared_log_is_empty_and_makes_its_folder(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run" / "log.jsonl")
    log.clear()
    assert read_log(log.path) == []
    log.append({"step": 1})
    log.clear()
    assert read_log(log.path) == []


def test_figures_that_are_not_finite_are_null_since_json_has_no_other_word(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.jsonl")
    log.append({"loss": math.nan, "rates": [math.inf, 1.0], "per_class": {"N1": -math.inf}})
    assert json.loads(log.path.read_text()) == {"loss": None, "rates": [None, 1.0], "per_class": {"N1": None}}


@pytest.mark.parametrize(("wanted", "num_kept"), [(0, 0), (1, 1), (3, 3), (7, 7), (9, 7)])
def test_truncation_drops_later_records(wanted: int, num_kept: int, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.jsonl", 5)
    before = read_log(log.path)
    assert log.count() == 7
    assert log.truncate(wanted) == len(before) - num_kept
    assert read_log(log.path) == before[:num_kept]
    assert list(tmp_path.iterdir()) == [log.path]


@given(num_bytes=st.integers(0, 200), wanted=st.integers(0, 9))
def test_a_log_cut_off_anywhere_is_whole_again_after_truncation(
    num_bytes: int, wanted: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = write_log(tmp_path_factory.mktemp("log") / "log.jsonl", 6)
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:num_bytes])
    num_lines = len(whole[:num_bytes].splitlines())
    num_dropped = log.truncate(wanted)
    kept = log.path.read_bytes()
    assert whole.startswith(kept)
    assert num_dropped == num_lines - kept.count(b"\n")
    assert log.count() <= wanted
    log.append({"step": 99})
    assert read_log(log.path)[-1] == {"step": 99}


def test_a_log_that_is_not_there_truncates_to_an_empty_one(tmp_path: Path) -> None:
    assert RunLog(tmp_path / "log.jsonl").truncate(3) == 0
    assert read_log(tmp_path / "log.jsonl") == []


@pytest.mark.parametrize("line", ["{'step': 2}", "[2]", ""])
def test_damage_before_the_last_line_names_file_and_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n')
    with pytest.raises(ValueError, match=r"log\.jsonl is damaged in line 2"):
        RunLog(path).truncate(1)
    assert len(path.read_text().splitlines()) == 3
