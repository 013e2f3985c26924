import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

import httpx2

from tests.factories.staging import NUM_EPOCHS
from tslm.cli import main
from tslm.cli.serve import TOKEN_VARIABLE

PATIENCE_S = 300
GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "serve.md"


@contextmanager
def serve(folder: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client]]:
    """The true command on a free port; it is killed at the end unless it has ended."""
    command = [sys.executable, "-m", "tslm", "serve", "--data", str(folder), "--port", "0", *words]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert address is not None
            with httpx2.Client(base_url=address[0], timeout=30) as client:
                yield process, client
        finally:
            process.kill()


def wait_for(client: httpx2.Client, job_id: str, *states: str) -> dict[str, Any]:
    until_s = time.monotonic() + PATIENCE_S
    while (job := client.get(f"/v1/jobs/{job_id}").json())["state"] not in states:
        assert time.monotonic() < until_s, job
        time.sleep(0.05)
    return job


def run_client_of_the_guide(address: str, night: Path, folder: Path) -> None:
    """Run the client that docs/guides/serve.md shows, on a copy of a night."""
    pytest.importorskip("requests")
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    mine = shutil.copy(night, folder / "mine.edf")
    code = code.replace("http://127.0.0.1:8000", address)
    subprocess.run([sys.executable, "-c", code, str(mine)], check=True, timeout=PATIENCE_S)


@pytest.mark.server
def test_a_night_in_work_survives_kill_9_and_is_done_after_the_restart(
    tmp_path: Path, unlabelled_night: Path, staging_models: Path
) -> None:
    model = f"tiny={staging_models}"
    with serve(tmp_path, "--model", model) as (process, client):
        for name in ("P01.edf", "P02.edf"):
            with unlabelled_night.open("rb") as file:
                answer = client.post("/v1/jobs", files={"file": (name, file)}, params={"smoothing": "median"})
            assert answer.status_code == 202
        second, first = (job["id"] for job in client.get("/v1/jobs").json()["jobs"])
        wait_for(client, first, "running")
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
    gone, alive = psutil.wait_procs(workers, timeout=20)
    assert gone and not alive  # a worker does not outlive its service

    with serve(tmp_path, "--model", model) as (process, client):
        assert client.get("/ready").status_code == 200
        jobs = [wait_for(client, job_id, "done", "failed") for job_id in (first, second)]
        assert [job["error"] for job in jobs] == [None, None]
        rows = client.get(jobs[0]["results"]["csv"]).text.splitlines()
        assert len(rows) == NUM_EPOCHS + 1 and rows[0].startswith("epoch_idx,onset_s,duration_s,stage,stage_unsmoothed")
        assert len(client.get(jobs[1]["results"]["json"]).json()["epochs"]) == NUM_EPOCHS

        asked = client.post(f"/v1/jobs/{second}/explanations", json={"epochs": "3,5-6"})
        job = wait_for(client, asked.json()["id"], "done", "failed")
        assert job["error"] is None and job["progress"] == 1
        epochs = client.get(job["results"]["explanations"]).json()["epochs"]
        assert [epoch["epoch_idx"] for epoch in epochs if "text" in epoch] == [3, 5, 6]

        wrong = client.post("/v1/jobs", files={"file": ("P03.edf", b"no recording")})
        job = wait_for(client, wrong.json()["id"], "done", "failed")
        assert job["state"] == "failed" and "P03.edf" in job["error"] and str(tmp_path) not in job["error"]

        run_client_of_the_guide(str(client.base_url).rstrip("/"), unlabelled_night, tmp_path)
        assert [path.suffix for path in sorted(tmp_path.glob("mine.staged.*"))] == [".csv", ".edf", ".html"]

        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
        assert process.returncode == 0 and "ended" in rest
    assert not list(tmp_path.glob("jobs/*/work"))


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--host", "0.0.0.0"], 2, f"set {TOKEN_VARIABLE}"),
        (["--host", "0.0.0.0", "--token", ""], 2, f"set {TOKEN_VARIABLE}"),
        (["--token", "two words"], 2, "without spaces"),
        (["--model", "nobody"], 2, "nobody"),
        (["--model", "human", "human"], 2, "a name of its own"),
        (["--model", "lab=/nowhere"], 2, "/nowhere"),
        (["--model", "explain-smollm2-135m"], 2, "is no scorer"),
        (["--workers", "0"], 2, "--workers 0; wanted 1 or more"),
        (["--waiting", "0"], 2, "--waiting 0"),
        (["--timeout_s", "nan"], 2, "--timeout_s nan"),
        (["--port", "70000"], 2, "--port 70000 cannot be"),
        (["--host", "203.0.113.7", "--token", "x"], 1, "cannot listen on 203.0.113.7"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], code: int,
    said: str,
) -> None:  # fmt: skip
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert main(["serve", "--data", str(tmp_path / "d"), "--port", "0", *words]) == code
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1
    assert not (tmp_path / "d").exists()


def test_a_folder_is_served_once_and_nothing_else_is_taken_for_its_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "jobs.sqlite").write_text("no database at all, but a long enough text to be read as one" * 9)
    assert main(["serve", "--data", str(tmp_path), "--port", "0"]) == 2
    assert "damaged or no database" in capsys.readouterr().err
