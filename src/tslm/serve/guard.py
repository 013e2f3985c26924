"""Guard of a local web application: allowed hosts, size of requests, and headers for browsers.

A page of another site, open in the same browser, can send requests to this machine. Three checks refuse them: the Host
must be an address or a known name (DNS rebinding keeps the name of the other site), the Origin of a change must be this
site, and a change must be JSON (which a browser does not send to another site without asking it) or, at an address that
takes files, a form with files.
"""

import asyncio
import base64
import binascii
import hmac
import ipaddress
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 64 * 1024
REQUEST_S = 20.0  # a request that is not complete after this time is dropped
_MAX_DRAINED_BYTES = 64 * 1024**2  # of a request that is too long
_TOO_LONG = (413, f"the request is longer than {MAX_BODY_BYTES} bytes")
_READING = ("GET", "HEAD")
_WITH_BODY = ("POST", "PUT", "PATCH")
_REFUSED_UPLOAD_S = 60.0  # so long a client that is still sending is listened to before it reads the refusal
_PAUSE_S = 1.0  # a client that sends nothing for so long listens
_CHALLENGE = 'Basic realm="tslm", charset="UTF-8"'  # a browser asks for it; the user name is not looked at
_HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """An ASGI application before another one."""

    def __init__(
        self,
        app: AsgiApp,
        host_names: frozenset[str] = frozenset(),
        content_policy: str = "",
        request_s: float = REQUEST_S,
        token: str = "",
        open_paths: frozenset[str] = frozenset(),
        upload_paths: frozenset[str] = frozenset(),
        is_served: Callable[[Scope], bool] = lambda _: True,
    ) -> None:
        """Put a guard before an application.

        Args:
            app: the application.
            host_names: as of `tslm.serve.app.build_app`, in lower case.
            content_policy: as there.
            request_s: longest time of a request, except of files.
            token: that every request needs, as a bearer token or as the password of Basic; empty: none does.
            open_paths: addresses that need none.
            upload_paths: addresses to which a form with files is posted; the application reads and limits it.
            is_served: whether the application has such an address; it refuses others itself, whatever they send.
        """
        self.app, self.request_s, self.is_served = app, request_s, is_served
        self.token, self.open_paths, self.upload_paths = token.encode(), open_paths, upload_paths
        self.host_names = host_names | {"localhost"}
        self.headers = [
            (name.encode(), value.encode())
            for name, value in {**_HEADERS, "content-security-policy": content_policy}.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; anything but HTTP is closed."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message.get("headers", [])}
                guarding = [(name, value) for name, value in self.headers if name not in own]
                message["headers"] = [*message.get("headers", []), *guarding]
            await send(message)

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        is_upload = scope["method"] == "POST" and scope["path"] in self.upload_paths
        refusal = self._find_refusal(scope, headers, is_upload)
        if refusal is None and not self._is_allowed(scope["path"], headers):
            refusal = 401, "a token is needed: Authorization: Bearer TOKEN, or TOKEN as the password"
        if is_upload:
            upload = _Upload(receive, expects_answer="expect" in headers)
            if refusal is None:
                await self.app(scope, upload.receive, lambda message: upload.answer(message, send_guarded))
            else:
                await _send_error(lambda message: upload.answer(message, send_guarded), *refusal)
            return
        body = None
        try:
            async with asyncio.timeout(self.request_s):
                if refusal is None or "expect" not in headers:  # a client that expects an answer has sent no body
                    body = await _read_body(receive)
        except TimeoutError:
            refusal = refusal or (408, f"the request was not complete after {self.request_s:g} s")
        if refusal is None and body is not None:
            await self.app(scope, _replay(body, receive), send_guarded)
            return
        await _send_error(send_guarded, *(refusal or _TOO_LONG))

    def _is_allowed(self, path: str, headers: dict[str, str]) -> bool:
        """Whether the token is not needed, or is there."""
        if not self.token or path in self.open_paths:
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        found = given.strip().encode("latin-1")
        if kind.casefold() == "basic":
            try:
                found = base64.b64decode(found, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        return hmac.compare_digest(found, self.token)

    def _find_refusal(self, scope: Scope, headers: dict[str, str], is_upload: bool) -> tuple[int, str] | None:
        method, host = scope["method"], headers.get("host", "")
        if not self._is_own_host(host):
            return 421, f"{host!r} is not served here; use the address that the command printed"
        if method in _READING:
            return None
        origin = headers.get("origin")
        is_foreign = headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        if is_foreign or (origin is not None and urlsplit(origin).netloc.casefold() != host.casefold()):
            return 403, "changes are taken from this site's own pages only"
        kind = headers.get("content-type", "").partition(";")[0].strip().casefold()
        if is_upload:
            return None if kind == "multipart/form-data" else (415, "files are taken as multipart/form-data only")
        if (
            kind != "application/json" and method in _WITH_BODY and self.is_served(scope)
        ):  # pages of other sites cannot send DELETE unasked
            return 415, "changes are taken as application/json only"
        if headers.get("content-length", "0").isdigit() and int(headers.get("content-length", "0")) > MAX_BODY_BYTES:
            return _TOO_LONG
        return None

    def _is_own_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.host_names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class _Upload:
    """A body that the application reads itself, and may refuse before its end.

    A client that is still sending loses an answer, so the rest is taken first, unless the client waits for the answer
    (`Expect: 100-continue`).
    """

    def __init__(self, receive: Receive, expects_answer: bool) -> None:
        self._receive, self._is_sending = receive, not expects_answer

    async def receive(self) -> MutableMapping[str, Any]:
        """The next part."""
        self._is_sending = True
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._is_sending = False
        return message

    async def answer(self, message: MutableMapping[str, Any], send: Send) -> None:
        """Send, and before the first part take what the client is still sending."""
        if message["type"] == "http.response.start" and self._is_sending:
            try:
                async with asyncio.timeout(_REFUSED_UPLOAD_S):
                    while self._is_sending:
                        async with asyncio.timeout(_PAUSE_S):
                            await self.receive()
            except TimeoutError:
                self._is_sending = False
        await send(message)


def render_error(message: str) -> dict[str, str]:
    """Render an error as a JSON object with one line."""
    return {"error": " ".join(message.split())}


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, or None when it is too long.

    A body that is too long is taken, too: a client that is still sending loses the answer.
    """
    parts: list[bytes] = []
    num_bytes, more = 0, True
    while more and num_bytes < _MAX_DRAINED_BYTES:
        message = await receive()
        part = message.get("body", b"")
        num_bytes += len(part)
        if num_bytes <= MAX_BODY_BYTES:
            parts.append(part)
        more = message["type"] == "http.request" and message.get("more_body", False)  # else the client has gone
    return b"".join(parts) if num_bytes <= MAX_BODY_BYTES else None


def _replay(body: bytes, receive: Receive) -> Receive:
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return receive_again


async def _send_error(send: Send, status: int, message: str) -> None:
    body = json.dumps(render_error(message)).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if status == 401:
        headers.append((b"www-authenticate", _CHALLENGE.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
