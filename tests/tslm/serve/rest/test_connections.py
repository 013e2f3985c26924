"""Uploads over real connections: clients that stop, stall, or send too much."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from tests.factories.servers.nights import build_service, run_app
from tslm.serve.jobs.tasks import JobOptions
from tslm.serve.rest.routes import build_service_app
from tslm.serve.rest.service import StagingService

pytestmark = pytest.mark.server
BODY = b'--b\r\nContent-Disposition: form-data; name="file"; filename="n.edf"\r\n\r\n' + b"0" * 50_000
HEAD = (
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 90000\r\n"
)
PATIENCE_S = 30


@pytest.fixture
def service(tmp_path: Path) -> StagingService:
    return build_service(tmp_path, idle_s=0.5)


@pytest.fixture
def port(service: StagingService) -> Iterator[int]:
    with run_app(build_service_app(service)) as address:
        yield urlsplit(address).port or 0


def wait_until_empty(service: StagingService) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while service.store.count("uploading", "waiting") or any(service.folders.root.glob("*")):
        assert time.monotonic() < until_s
        time.sleep(0.02)


def test_a_client_that_goes_away_half_way_leaves_nothing(service: StagingService, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(HEAD + b"\r\n" + BODY)
        until_s = time.monotonic() + PATIENCE_S
        while not list(service.folders.root.rglob("n.edf")):
            assert time.monotonic() < until_s
            time.sleep(0.01)
        assert service.store.count("uploading") == 1
    wait_until_empty(service)


def test_a_client_that_stalls_is_told_so_and_leaves_nothing(service: StagingService, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(HEAD + b"Connection: close\r\n\r\n" + BODY)
        answer = connection.recv(4096)
    assert b"408 Request Timeout" in answer
    wait_until_empty(service)


def test_a_client_that_waits_for_the_answer_is_refused_before_it_sends(service: StagingService, port: int) -> None:
    for number in range(service.store.max_waiting):
        service.store.add(JobOptions(), f"{number}.edf")
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nConnection: close\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 429")


def test_a_client_that_sends_too_much_reads_why(service: StagingService, port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    content_type = {"Content-Type": "multipart/form-data; boundary=b"}
    connection.request("POST", "/v1/jobs", BODY + b"0" * 5_000_000, content_type)
    answer = connection.getresponse()
    assert answer.status == 413 and "0.1 MB at most" in json.loads(answer.read())["error"]
    connection.close()
    wait_until_empty(service)
