import json
import os
from pathlib import Path

import pytest

from data_prep.realism.hypnograms import describe_hypnograms, main, read_strings
from tslm.hypnogram import Hypnogram
from tslm.labels import SleepStage

LETTERS = "W" * 100 + "1" * 4 + "2" * 6 + "3" * 3 + "4" * 3 + "2" * 4 + "RRRR" + "1" + "W" * 200


def _write(folder: Path) -> Path:
    (folder / "strings.json").write_text(json.dumps({"SC4001E0": LETTERS, "SC4011E0": LETTERS}))
    return folder


def test_bouts_shares_and_transitions_are_counted_around_sleep(tmp_path):
    statistics = describe_hypnograms(read_strings(_write(tmp_path), ["SC400"]))
    assert statistics["nights"] == 1
    assert statistics["epochs a night, mean"] == 25 + 120
    assert statistics["share N2, mean"] == 10 / 145
    assert statistics["bout N2, mean"] == 5
    assert statistics["bout N3, mean"] == 6
    assert statistics["N2 > R"] == statistics["N2 > N3"] == 1 / 10
    assert statistics["REM latency min, median"] == 10


def test_a_foreign_letter_and_nights_without_sleep_are_named(tmp_path):
    (tmp_path / "strings.json").write_text(json.dumps({"SC4001E0": "WW9"}))
    with pytest.raises(ValueError, match="SC4001E0 holds '9'"):
        read_strings(tmp_path)
    with pytest.raises(ValueError, match="no hypnogram holds sleep"):
        describe_hypnograms([Hypnogram((SleepStage.WAKE,) * 5)])


def test_the_command_prints_both_sides(tmp_path, capsys):
    assert main(["--strings", str(_write(tmp_path)), "--num_nights", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["real", "simulated"]
    assert len(lines) == 1 + 4 + 5 * 4 + 5 * 4
    assert main(["--strings", str(tmp_path / "none")]) == 2


@pytest.mark.skipif("TSLM_DATA_DIR" not in os.environ, reason="TSLM_DATA_DIR is not set")
def test_simulated_hypnograms_resemble_the_real_ones():
    folder = Path(os.environ["TSLM_DATA_DIR"]) / "sleep_edf_hypnograms"
    from data_prep.realism.hypnograms import _simulate

    real = describe_hypnograms(read_strings(folder, ["SC400"]))
    simulated = describe_hypnograms([_simulate(0, idx) for idx in range(100)])
    for name, value in real.items():
        if name.startswith("share") and name.endswith("mean"):
            assert simulated[name] == pytest.approx(value, abs=0.05), name
