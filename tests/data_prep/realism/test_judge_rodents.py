import sys
from pathlib import Path

import pytest

from data_prep.realism import rodents as judge
from data_prep.simulators.rodent.day import simulate_rodent_day
from tslm.labels import SleepStage

W, N, R = SleepStage.WAKE, SleepStage.NREM, SleepStage.REM


def test_an_epoch_has_the_stage_of_most_of_its_seconds():
    assert judge.summarise_seconds("WWWNN" + "NNNNR" + "RRRRR" + "W", 5) == [W, N, R]


def test_a_peer_that_is_right_about_all_but_one_epoch_in_ten_is_judged_so(monkeypatch):
    letters = {W: "W", N: "N", R: "R", SleepStage.UNSCORED: "W"}
    day = simulate_rodent_day(3, 0, hours=0.5, fs_hz=100)
    monkeypatch.setattr(judge, "simulate_rodent_day", lambda *_args: day)

    def stage(*_args):
        staged = [letters[stage] for stage in day.sleep_stages]
        staged[::10] = ["N" if letter == "W" else "W" for letter in staged[::10]]
        return "".join(10 * letter for letter in staged)

    monkeypatch.setattr(judge, "stage_with_peer", stage)
    judged = judge.judge_rodents("misleep", "python", 2, 0.5, 100, 3)
    assert [name for name, _ in judged] == [f"MOUSE0000 {day.strain}"] * 2 + ["all"]
    scored = sum(stage != SleepStage.UNSCORED for stage in day.sleep_stages)
    wrong = sum(stage != SleepStage.UNSCORED for stage in day.sleep_stages[::10])
    assert judged[-1][1]["accuracy"] == pytest.approx(1 - wrong / scored)
    assert judge.render_judgement(judged).splitlines()[-1].startswith("wanted kappa >= 0.80")


def test_a_peer_that_is_not_installed_is_said_in_one_line(tmp_path, monkeypatch):
    worker = tmp_path / "worker.py"
    worker.write_text("import no_such_peer")
    monkeypatch.setattr(judge, "_WORKER", worker)
    with pytest.raises(OSError, match="misleep could not be run by .*no_such_peer"):
        judge.stage_with_peer("misleep", sys.executable, simulate_rodent_day(0, 0, hours=0.1, fs_hz=100))


def test_the_peers_side_stands_on_its_own():
    text = Path(judge._WORKER).read_text(encoding="utf-8")
    assert "tslm" not in text
    assert "data_prep" not in text


@pytest.mark.parametrize("arguments", [["--num_animals", "0"], ["--hours", "0"]])
def test_a_bad_call_is_exit_code_2(arguments, capsys):
    assert judge.main([*arguments, "--seed", "1"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")
