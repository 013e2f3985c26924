"""A client of the service that counts what goes wrong instead of raising it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

_BOUNDARY = "tslm-bench"
_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Answer:
    """Status 0: the service could not be reached, or went away."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """The body read."""
        return json.loads(self.body)


@dataclass(frozen=True)
class ServiceClient:
    """Requests to a service on this machine, a connection each."""

    port: int

    def ask(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> Answer:
        """Send a request."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=_TIMEOUT_S)
        try:
            connection.request(method, path, body or None, {"content-type": content_type} if content_type else {})
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, answer.read(), headers)
        except (OSError, HTTPException):
            return Answer(0)
        finally:
            connection.close()

    def upload(self, name: str, content: bytes, query: str = "explain=none") -> Answer:
        """Upload a recording."""
        return self.ask("POST", f"/v1/jobs?{query}", *build_form(name.encode(), content))


def build_form(name: bytes, content: bytes) -> tuple[bytes, str]:
    """A form of one file, and its content type."""
    head = b'--%b\r\nContent-Disposition: form-data; name="file"; filename="%b"\r\n\r\n' % (_BOUNDARY.encode(), name)
    return head + content + f"\r\n--{_BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={_BOUNDARY}"
