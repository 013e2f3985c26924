"""A web server on this machine, on a thread of its own, for tests that need a real connection."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class LocalServer:
    """Serves until closed; a subclass says how requests are answered."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self.build_handler())
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def build_handler(self) -> type[BaseHTTPRequestHandler]:
        raise AssertionError("a subclass answers the requests")


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
