import http.client
import json
import socket
import threading

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

import uvicorn
from starlette.testclient import TestClient

from tslm.serve.app import Route, build_app, build_protocol, listen
from tslm.serve.guard import MAX_BODY_BYTES

ADDRESS = "http://127.0.0.1:8765"
LOCAL = {"origin": ADDRESS, "sec-fetch-site": "same-origin"}


class MissingError(LookupError):
    pass


def put(body: dict) -> dict:
    if "raise" in body:
        raise {"value": ValueError, "file": OSError, "missing": MissingError}[body["raise"]]("first\nsecond")
    return body


def greet(name: str, times: int = 1) -> str:
    return f"<p>{name * times}</p>"


@pytest.fixture
def client():
    routes = [Route("PUT", "/thing", put), Route("GET", "/", greet, "text/html; charset=utf-8")]
    app = build_app(routes, ("Server7",), {MissingError: 404}, "default-src 'none'; frame-ancestors 'none'")
    return TestClient(app, base_url=ADDRESS)


def test_functions_answer_with_json_and_with_text(client):
    assert client.put("/thing", json={"a": [1]}, headers=LOCAL).json() == {"a": [1]}
    page = client.get("/", params={"name": "é", "times": 2})
    assert (page.text, page.headers["content-type"]) == ("<p>éé</p>", "text/html; charset=utf-8")


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "[::1]:80", "192.168.1.7", "server7:8765"])
def test_addresses_and_known_names_are_served(client, host):
    assert client.get("/?name=x", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "[", "a@b@c"])
def test_a_rebound_name_is_refused(client, host):
    answer = client.get("/?name=x", headers={"host": host})
    assert answer.status_code == 421
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": ADDRESS, "sec-fetch-site": "cross-site"},
    ],
)
def test_changes_from_other_sites_are_refused(client, headers):
    assert client.put("/thing", json={}, headers=headers).status_code == 403


def test_changes_are_json_which_a_form_of_another_site_cannot_send(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = client.put("/thing", content='{"a": 1}', headers=LOCAL | {"content-type": kind})
        assert answer.status_code == 415
    assert client.put("/thing", content="{}", headers=LOCAL | {"content-type": "application/json"}).status_code == 200


def test_other_methods_are_405_with_those_that_are_served(client):
    for method in ("POST", "DELETE", "PATCH", "TRACE", "OPTIONS"):
        answer = client.request(method, "/thing", headers=LOCAL)
        assert (answer.status_code, answer.headers["allow"]) == (405, "PUT")


def test_long_requests_are_refused_whatever_they_say_of_their_length(client):
    def stream():
        for _ in range(3):
            yield b'"' * (MAX_BODY_BYTES // 2)

    for content in (b"x" * (MAX_BODY_BYTES + 1), stream()):
        answer = client.put("/thing", content=content, headers=LOCAL | {"content-type": "application/json"})
        assert answer.status_code == 413


@pytest.mark.parametrize(("kind", "status"), [("value", 400), ("file", 503), ("missing", 404)])
def test_errors_are_one_line(client, kind, status):
    answer = client.put("/thing", json={"raise": kind}, headers=LOCAL)
    assert (answer.status_code, answer.json()) == (status, {"error": "first second"})


@pytest.mark.parametrize("content", ["", "{", "[1]", "3", "[" * 20_000])
def test_what_is_no_json_object_is_refused(client, content):
    answer = client.put("/thing", content=content, headers=LOCAL | {"content-type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/thing/", "/../etc/passwd", "/%2e%2e/x", "/static"])
def test_there_is_nothing_but_the_routes(client, path):
    assert client.get(path, follow_redirects=False).status_code in (404, 405, 307)


def test_every_answer_tells_the_browser_what_not_to_do(client):
    for answer in (client.get("/?name=x"), client.get("/nowhere"), client.get("/", headers={"host": "evil.example"})):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in answer.headers


@pytest.fixture
def port():
    """A server of its own thread that waits 0.4 s for a request."""
    app = build_app([Route("PUT", "/thing", put), Route("GET", "/", greet, "text/html; charset=utf-8")])
    app.request_s = 0.4
    config = uvicorn.Config(app, http=build_protocol(app.request_s), log_level="critical", lifespan="off", ws="none")
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = server.force_exit = True
        thread.join()


WHOLE = b"GET /?name=x HTTP/1.1\r\nHost: localhost\r\n\r\n"
JSON_HEADER = b"PUT /thing HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"


@pytest.mark.server
@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"", b""),
        (b"GET / HTT", b""),
        (WHOLE[:-4], b""),
        (WHOLE + WHOLE[:-4], b"200 OK"),
        (JSON_HEADER + b"{", b"408 Request Timeout"),
    ],
)
def test_half_a_request_is_dropped(port, sent, answered):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        while part := connection.recv(65536):
            received += part
    assert answered in received
    assert bool(answered) == bool(received)


@pytest.mark.server
def test_a_client_that_sends_too_much_reads_why(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("PUT", "/thing", b"x" * (200 * MAX_BODY_BYTES), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 413
    assert "longer than" in json.loads(answer.read())["error"]
    connection.close()
