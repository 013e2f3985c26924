import numpy as np
import pytest

from evaluation.report import main
from tests.factories.pages import make_rows, read_page
from tslm.config.files import save_config
from tslm.config.schema import RunConfig
from tslm.data.prepared.recordings import Recording, write_recording
from tslm.labels import SleepStage
from tslm.predictions.rows import write_predictions


def make_run(tmp_path):
    run_dir = tmp_path / "run"
    rows = make_rows(30)
    write_predictions(rows, run_dir / "results" / "test_predictions.jsonl")
    save_config(RunConfig(seed=11), run_dir / "config.yaml")
    (run_dir / "checkpoints" / "best").mkdir(parents=True)
    return run_dir


def test_command_reads_a_run_folder_with_its_config_and_signals(tmp_path, capsys):
    run_dir = make_run(tmp_path)
    recording = Recording(
        recording="n1",
        subject="s1",
        fs_hz=100,
        epoch_s=30,
        channels={"EEG Fpz-Cz": np.random.default_rng(0).normal(0, 20, (70, 3000)).astype(np.float32)},
        sleep_stages=(SleepStage.WAKE,) * 70,
        onset_s=30.0 * np.arange(70),
        source="Sleep-EDF Expanded",
    )
    write_recording(recording, tmp_path / "cohort", "test")
    arguments = [str(run_dir), "--data", str(tmp_path / "cohort"), "--fact", "Licence=ODC-By 1.0"]
    assert main(arguments) == 0
    assert "report.html" in capsys.readouterr().out
    page = read_page(run_dir / "results" / "report.html")
    assert page.night["waveforms"]["channels"][0]["name"] == "EEG Fpz-Cz"
    for words in ("Sleep-EDF Expanded", "ODC-By 1.0", "seed: 11", "smollm2-135m", "checkpoints/best"):
        assert words in page.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.jsonl"], "no predictions at"),
        (["."], "no results/test_predictions.jsonl in"),
        (["run", "--data", "nowhere"], "no prepared recording at"),
        (["run", "--fact", "Licence"], "is not NAME=TEXT"),
    ],
)
def test_command_names_mistakes_in_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    make_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_command_says_when_it_cannot_write(tmp_path, capsys):
    run_dir = make_run(tmp_path)
    assert main([str(run_dir), "--out", str(run_dir / "config.yaml" / "r.html")]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_of_several_nights_an_overview_leads_to_a_page_each(tmp_path, capsys):
    rows = [*make_rows(20, "a/b"), *make_rows(20, "a_b"), *make_rows(20, "n2")]
    write_predictions(rows, tmp_path / "p.jsonl")
    assert main([str(tmp_path / "p.jsonl"), "--out", str(tmp_path / "r.html"), "--title", "Three"]) == 0
    links = [link["href"] for link in read_page(tmp_path / "r.html").find("a")]
    assert links == ["r_nights/a_b.html", "r_nights/a_b_1.html", "r_nights/n2.html"]
    nights = [read_page(tmp_path / link) for link in links]
    assert [night.night["recording"] for night in nights] == ["a/b", "a_b", "n2"]
    assert "Three: n2" in nights[2].text
    assert len(list((tmp_path / "r_nights").iterdir())) == 3
    assert main([str(tmp_path / "p.jsonl"), "--out", str(tmp_path / "one" / "r.html"), "--overview_only"]) == 0
    assert [entry.name for entry in (tmp_path / "one").iterdir()] == ["r.html"]
