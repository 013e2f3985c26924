import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("multipart", reason="needs the extra serve")

from evaluation.benchmarks.service.client import ServiceClient, build_form
from evaluation.benchmarks.service.damage import damage_request
from evaluation.benchmarks.service.load import _compare_memory, write_night
from tests.factories.servers.uploads import receive_body
from tslm.data.readers.edf.read import open_edf
from tslm.data.readers.raw import SignalsConfig


def test_a_simulated_night_is_a_recording_that_is_uploaded_whole(tmp_path: Path) -> None:
    content = write_night(tmp_path / "n.edf", 0.05, 0)
    assert open_edf(tmp_path / "n.edf", SignalsConfig()).duration_s == 180
    body, content_type = build_form(b"m.edf", content)

    assert receive_body(body, content_type, tmp_path / "upload", step=len(body)) == "m.edf"
    assert (tmp_path / "upload" / "m.edf").read_bytes() == content


def test_damaged_requests_are_reproducible_and_of_many_kinds(tmp_path: Path) -> None:
    content = write_night(tmp_path / "n.edf", 0.05, 0)
    runs = [[damage_request(np.random.default_rng(seed), content) for seed in range(150)] for _ in range(2)]
    paths, bodies, _ = zip(*runs[0], strict=True)
    assert [path for path, *_ in runs[1]] == list(paths)
    assert len(set(bodies)) > 50
    for suffix in (b".edf", b".csv", b".mat", b".vhdr", b".set", b"etc/passwd"):
        assert any(suffix in body[:400] for body in bodies), suffix


@pytest.mark.parametrize(("samples_mb", "change"), [([1] * 3 + [100] * 3 + [100] * 3, 0), ([1, 100, 120], 20)])
def test_memory_is_compared_after_the_models_are_loaded(samples_mb: list[float], change: float) -> None:
    (row,) = _compare_memory("workers", samples_mb)
    assert row.value == pytest.approx(change)


def test_a_service_that_is_not_there_is_status_0() -> None:
    assert ServiceClient(9).ask("GET", "/health").status == 0


def test_the_command_shows_an_example() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evaluation.benchmarks.service", "--help"], capture_output=True, text=True, check=True
    )
    assert "example: python -m evaluation.benchmarks.service" in done.stdout
