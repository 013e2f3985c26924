"""Client of an OpenAI-compatible chat endpoint with a rate limit, retries and stored answers.

Each answer is stored in a file named after the hash of its request. A killed run continues with the missing answers,
and a second run sends no request.
"""

import email.utils
import hashlib
import http.client
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tslm.files import write_beside

Message = dict[str, str]  # role and content
_WORTH_RETRYING = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_LONGEST_WAIT_S = 300.0
_MOST_ERROR_CHARS = 200
_REDIRECTS = (301, 302, 303, 307, 308)


class NoAnswerError(OSError):
    """The endpoint gave no usable answer to a request in `num_tries` tries."""


class RefusedError(OSError):
    """The endpoint refuses the request: the key, the address or the model is wrong."""


@dataclass(frozen=True)
class Endpoint:
    """Address, model and settings of the requests. The key is never written to a file, a message or a repr."""

    base_url: str  # up to and including /v1
    model: str
    api_key: str = field(default="", repr=False)
    temperature: float = 0.7
    max_tokens: int = 400
    timeout_s: float = 60.0
    num_tries: int = 5
    backoff_s: float = 1.0

    def __post_init__(self) -> None:
        if urllib.parse.urlsplit(self.base_url).scheme not in ("http", "https"):
            raise ValueError(f"--base_url {self.base_url}: expected an http or https address such as https://HOST/v1")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would carry the key to another host, and urllib sends it without the request."""

    def redirect_request(self, *_: Any) -> None:
        """None: the redirect is an error."""


class RateLimit:
    """Token bucket: `burst` requests at once, then one each 60 / `per_minute` seconds. 0: no limit."""

    def __init__(
        self,
        per_minute: float,
        burst: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.per_minute, self.burst, self.clock, self.sleep = per_minute, burst, clock, sleep
        self._tokens, self._filled_s = float(burst), clock()
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait until a request may be sent."""
        if self.per_minute <= 0:
            return
        with self._lock:
            now_s = self.clock()
            self._tokens = min(self.burst, self._tokens + (now_s - self._filled_s) * self.per_minute / 60)
            self._filled_s = now_s
            self._tokens -= 1  # below zero: wait for the token outside the lock
            wait_s = max(0.0, -self._tokens * 60 / self.per_minute)
        if wait_s:
            self.sleep(wait_s)


class ChatClient:
    """Sends requests to an endpoint, each different request once."""

    def __init__(
        self,
        endpoint: Endpoint,
        cache_dir: Path,
        limit: RateLimit,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint, self.cache_dir, self.limit = endpoint, cache_dir, limit
        self.clock, self.sleep = clock, sleep
        self.num_asked = 0  # requests sent, every try counted
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._lock = threading.Lock()
        self._lock_of: dict[Path, threading.Lock] = {}

    def ask(self, messages: Sequence[Message]) -> str:
        """The text of the answer, from disk if the request was sent before.

        Raises:
            NoAnswerError: No usable answer in `num_tries` tries.
            RefusedError: The endpoint refuses the request.
        """
        request = {
            "model": self.endpoint.model,
            "messages": list(messages),
            "temperature": self.endpoint.temperature,
            "max_tokens": self.endpoint.max_tokens,
        }
        path = self.cache_path(request)
        with self._lock:
            lock = self._lock_of.setdefault(path, threading.Lock())
        with lock:  # of two threads with the same request, the second reads the answer of the first
            stored = _read_stored(path)
            if stored is not None:
                return stored
            answer = self._send_with_retries(request)
            with write_beside(path) as partial:
                partial.write_text(json.dumps({"request": request, "answer": answer}), encoding="utf-8")
            return answer

    def cache_path(self, request: dict[str, Any]) -> Path:
        """File of the answer to a request, named after the hash of the request."""
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        return self.cache_dir / digest[:2] / f"{digest}.json"

    def _send_with_retries(self, request: dict[str, Any]) -> str:
        cause = ""
        for idx in range(self.endpoint.num_tries):
            self.limit.wait()
            try:
                return self._send(request)
            except urllib.error.HTTPError as error:
                cause = f"{error.code} {error.reason}"
                if error.code not in _WORTH_RETRYING:
                    raise RefusedError(self._explain(error)) from error
                wait_s = _read_retry_after(error.headers.get("Retry-After"), self.clock())
            except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
                cause, wait_s = " ".join(str(getattr(error, "reason", error)).split()) or type(error).__name__, 0.0
            if idx + 1 < self.endpoint.num_tries:
                self.sleep(min(max(self.endpoint.backoff_s * 2**idx, wait_s), _LONGEST_WAIT_S))
        raise NoAnswerError(f"{self.endpoint.base_url} gave no usable answer ({cause})")

    def _send(self, request: dict[str, Any]) -> str:
        with self._lock:
            self.num_asked += 1
        headers = {"Content-Type": "application/json"}
        if self.endpoint.api_key:
            headers["Authorization"] = f"Bearer {self.endpoint.api_key}"
        url = f"{self.endpoint.base_url.rstrip('/')}/chat/completions"
        sent = urllib.request.Request(url, data=json.dumps(request).encode(), headers=headers, method="POST")
        with self._opener.open(sent, timeout=self.endpoint.timeout_s) as response:
            return _read_answer(response.read())

    def _explain(self, error: urllib.error.HTTPError) -> str:
        if error.code in (401, 403):
            return f"{self.endpoint.base_url} refuses the key ({error.code} {error.reason}); check --api_key_env"
        if error.code in _REDIRECTS:
            target = self._hide_key(error.headers.get("Location", "elsewhere"))
            return f"{self.endpoint.base_url} redirects to {target}, where no key is sent; check --base_url"
        body = self._hide_key(error.read().decode("utf-8", errors="replace"))
        return f"{self.endpoint.base_url} refuses the request: {error.code} {error.reason} {body}".rstrip()

    def _hide_key(self, text: str) -> str:
        """The beginning of a text in one line, without the key."""
        shown = text.replace(self.endpoint.api_key, "***") if self.endpoint.api_key else text
        return " ".join(shown.split())[:_MOST_ERROR_CHARS]


def _read_answer(body: bytes) -> str:
    """Text of a chat completion. ValueError if the body is not one, or its text is empty."""
    content: Any = json.loads(body)
    for key in ("choices", 0, "message", "content"):
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError("the answer is not a chat completion") from error
    if not isinstance(content, str) or not content.strip():
        raise ValueError("the answer is empty")
    return content


def _read_retry_after(value: str | None, now_s: float) -> float:
    """Seconds to wait by a Retry-After header, which holds a number or a date; 0 if there is none."""
    for parse in (float, lambda date: email.utils.parsedate_to_datetime(date).timestamp() - now_s):
        with suppress(ValueError):
            return max(0.0, parse(value or ""))
    return 0.0


def _read_stored(path: Path) -> str | None:
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))["answer"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # missing or damaged
    return answer if isinstance(answer, str) else None
