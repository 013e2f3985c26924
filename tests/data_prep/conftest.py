import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest

from tests.factories.local_server import LocalServer
from tslm.evidence.criteria import Feature
from tslm.evidence.events import Event
from tslm.evidence.measure import BANDS_HZ, EVIDENCE_COLUMNS
from tslm.labels import SleepStage

NUM_EPOCHS = 600


class FileServer(LocalServer):
    """A web server on this machine whose answers a test can spoil."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.can_resume = True
        self.num_bytes_before_drop: list[int] = []  # one an answer, used up in order
        self.status_codes: list[int] = []  # one an answer, used up in order; 0 answers as usual
        self.faults: dict[str, list[str]] = {}  # by path, one an answer, used up in order; see `_spoil`
        self.meeting = threading.Barrier(1)  # recordings are answered when so many requests are in
        self.requests: list[tuple[str, str]] = []  # (path, Range header)
        super().__init__()

    def build_handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted_range = self.headers.get("Range", "")
                owner.requests.append((self.path, wanted_range))
                if self.path.endswith((".edf", ".dat")):
                    owner.meeting.wait(timeout=10)
                status = owner.status_codes.pop(0) if owner.status_codes else 0
                content = owner.files.get(self.path)
                fault = owner.faults[self.path].pop(0) if owner.faults.get(self.path) else ""
                if status or content is None or fault.isdigit():
                    self.send_error(status or int(fault or 404))
                    return
                offset = int(wanted_range[len("bytes=") : -1]) if wanted_range and owner.can_resume else 0
                if offset and offset >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                body, length = _spoil(content[offset:], fault)
                self.send_response(206 if offset else 200)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                end = owner.num_bytes_before_drop.pop(0) if owner.num_bytes_before_drop else len(body)
                self.wfile.write(body[:end])

            def log_message(self, *args: object) -> None:
                pass

        return Handler


def _spoil(body: bytes, fault: str) -> tuple[bytes, int]:
    """What is sent and the length announced: "drop" mid-file, "short" or "long" announced wrongly, "corrupt"."""
    if fault == "drop":
        return body[: len(body) // 2], len(body)
    if fault == "short":
        return body[:-7], len(body) - 7
    if fault == "long":
        return body, len(body) + 7
    return (b"?" + body[1:], len(body)) if fault == "corrupt" else (body, len(body))


@pytest.fixture
def server() -> Iterator[FileServer]:
    running = FileServer()
    yield running
    running.close()


@pytest.fixture(scope="session")
def evidence() -> dict[str, np.ndarray]:
    """Columns of all kinds of epochs, likely and unlikely."""
    rng = np.random.default_rng(5)
    shares = rng.dirichlet([5, 2, 1, 0.7, 1.5], NUM_EPOCHS).astype(np.float32)
    columns = {
        "rms_uv": rng.lognormal(2.8, 0.6, NUM_EPOCHS),
        "peak_to_peak_uv": rng.lognormal(4.5, 0.5, NUM_EPOCHS),
        **{f"{band}_share": shares[:, idx] for idx, band in enumerate(BANDS_HZ)},
        "high_frequency_ratio": rng.exponential(0.05, NUM_EPOCHS),
        "dominant_hz": rng.uniform(0.5, 20, NUM_EPOCHS),
        "alpha_fraction": rng.beta(0.5, 2, NUM_EPOCHS),
        "slow_wave_fraction": rng.beta(0.3, 1.5, NUM_EPOCHS),
        "spindle_count": rng.poisson(1, NUM_EPOCHS),
        "spindle_density_per_min": np.zeros(NUM_EPOCHS),
        "spindle_duration_s": np.zeros(NUM_EPOCHS),
        "sawtooth_count": rng.poisson(0.1, NUM_EPOCHS),
        "k_complex_count": rng.poisson(0.5, NUM_EPOCHS),
        "eye_movement_count": rng.poisson(1.2, NUM_EPOCHS),
        "artefact_fraction": rng.choice([0, 0.5], NUM_EPOCHS, p=[0.97, 0.03]),
    }
    columns["spindle_density_per_min"] = 2.0 * columns["spindle_count"]
    columns["spindle_duration_s"] = np.where(columns["spindle_count"] > 0, rng.uniform(0.5, 2, NUM_EPOCHS), 0.0)
    assert set(columns) == set(EVIDENCE_COLUMNS)
    return columns


@pytest.fixture(scope="session")
def events(evidence) -> list[list[Event]]:
    """Events of each epoch, as many of a kind as are counted."""
    rng = np.random.default_rng(7)
    count_columns = {
        Feature.SPINDLES: "spindle_count",
        Feature.K_COMPLEXES: "k_complex_count",
        Feature.EYE_MOVEMENTS: "eye_movement_count",
    }
    return [
        [
            Event(kind, onset_s, float(rng.uniform(0.3, 0.5)))
            for kind, column in count_columns.items()
            for onset_s in sorted(rng.choice(np.arange(0.0, 29.5, 0.51), evidence[column][idx], replace=False).tolist())
        ]
        for idx in range(NUM_EPOCHS)
    ]


@pytest.fixture(scope="session")
def sleep_stages() -> list[SleepStage]:
    return [list(SleepStage)[idx] for idx in np.random.default_rng(6).integers(0, len(SleepStage), NUM_EPOCHS)]
