import json
from pathlib import Path

import pytest

from tslm.cli import main
from tslm.pretrained import table
from tslm.pretrained.table import TABLE_FILE


def test_the_models_of_the_package_are_listed_with_what_they_read_and_score(
    package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("human"))
    for words in ("scorer", "EEG Fpz-Cz, EOG horizontal; human, aasm, 30-s epochs", "one night (841 epochs)"):
        assert words in row
    assert "0.810 [0.748, 0.861]" in row
    assert "explain-tiny adds to tiny-base (SHA-256 b179c9523d0e), which is fetched at its first use" in out


def test_as_json_every_field_is_given_with_the_folder(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    listed = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert listed.keys() == {"human", "explain-tiny"}
    assert Path(listed["human"]["folder"]) == package / "human"
    assert listed["human"]["scores"][0]["intervals"] == {"cohen_kappa": [0.748, 0.861]}
    assert listed["human"]["num_bytes"] == sum(
        path.stat().st_size for path in (package / "human").rglob("*") if path.is_file()
    )


def test_a_package_without_models_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / TABLE_FILE).write_text("{}\n")
    monkeypatch.setattr(table, "FOLDER", tmp_path)
    assert main(["models"]) == 0
    assert "without trained models; name a checkpoint" in capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    (tmp_path / "night.edf").write_bytes(b"")
    assert main(["score", str(tmp_path / "night.edf")]) == 2
    assert "without a model 'human' (it has none yet); name a checkpoint" in capsys.readouterr().err
