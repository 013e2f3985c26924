"""A chat endpoint in the manner of OpenAI's: answers kept on disk, requests limited in rate and tried again.

Each answer is a file of its own, named after the hash of its request and renamed into place when
whole, so a run that was killed asks only for what is missing and a second run asks nothing.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tslm.files import write_beside

Message = dict[str, str]  # role and content
_WORTH_RETRYING = (408, 409, 425, 429, 500, 502, 503, 504, 529)
_LONGEST_WAIT_S = 300.0
_MOST_ERROR_CHARS = 200


class NoAnswerError(OSError):
    """The endpoint gave no usable answer to one request, however often it was asked."""


class RefusedError(OSError):
    """The endpoint refuses: the key, the address or the model is wrong, and asking again will not help."""


@dataclass(frozen=True)
class Endpoint:
    """Where and what to ask, and how patiently. The key is in no file, no message and no representation."""

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
            raise ValueError(f"--base_url {self.base_url}: wanted an http or https address such as https://HOST/v1")


class RateLimit:
    """A token bucket: `burst` requests at once, then one each 60 / `per_minute` seconds; 0 is no limit."""

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
        """Return when a request may go out; threads go out in turn."""
        if self.per_minute <= 0:
            return
        with self._lock:
            now_s = self.clock()
            self._tokens = min(self.burst, self._tokens + (now_s - self._filled_s) * self.per_minute / 60)
            self._filled_s = now_s
            self._tokens -= 1  # below zero: a token of the future, waited for outside the lock
            wait_s = max(0.0, -self._tokens * 60 / self.per_minute)
        if wait_s:
            self.sleep(wait_s)


class ChatClient:
    """Asks an endpoint, once for each different request."""

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
        self.num_asked = 0  # requests that went out, tries counted singly
        self._lock = threading.Lock()
        self._lock_of: dict[Path, threading.Lock] = {}

    def ask(self, messages: Sequence[Message]) -> str:
        """The answer's text, from disk where this was asked before.

        Raises:
            NoAnswerError: no usable answer after `num_tries`.
            RefusedError: the endpoint refuses such requests.
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
        with lock:  # two threads with one request: the second finds the first one's answer
            kept = _read_kept(path)
            if kept is not None:
                return kept
            answer = self._ask_until_answered(request)
            with write_beside(path) as partial:
                partial.write_text(json.dumps({"request": request, "answer": answer}), encoding="utf-8")
            return answer

    def cache_path(self, request: dict[str, Any]) -> Path:
        """Where the answer to a request is kept: its name is the hash of the request's content."""
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        return self.cache_dir / digest[:2] / f"{digest}.json"

    def _ask_until_answered(self, request: dict[str, Any]) -> str:
        cause = ""
        for idx in range(self.endpoint.num_tries):
            self.limit.wait()
            try:
                return self._ask_once(request)
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

    def _ask_once(self, request: dict[str, Any]) -> str:
        with self._lock:
            self.num_asked += 1
        headers = {"Content-Type": "application/json"}
        if self.endpoint.api_key:
            headers["Authorization"] = f"Bearer {self.endpoint.api_key}"
        url = f"{self.endpoint.base_url.rstrip('/')}/chat/completions"
        sent = urllib.request.Request(url, data=json.dumps(request).encode(), headers=headers, method="POST")
        with urllib.request.urlopen(sent, timeout=self.endpoint.timeout_s) as response:
            return _read_answer(response.read())

    def _explain(self, error: urllib.error.HTTPError) -> str:
        if error.code in (401, 403):
            return f"{self.endpoint.base_url} refuses the key ({error.code} {error.reason}); check --api_key_env"
        body = " ".join(error.read().decode("utf-8", errors="replace").split())[:_MOST_ERROR_CHARS]
        if self.endpoint.api_key:
            body = body.replace(self.endpoint.api_key, "***")
        return f"{self.endpoint.base_url} refuses the request: {error.code} {error.reason} {body}".rstrip()


def _read_answer(body: bytes) -> str:
    """Text of a chat completion. ValueError when the body is something else, or says nothing."""
    content: Any = json.loads(body)
    for key in ("choices", 0, "message", "content"):
        try:
            content = content[key]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError("the answer is no chat completion") from error
    if not isinstance(content, str) or not content.strip():
        raise ValueError("the answer is empty")
    return content


def _read_retry_after(value: str | None, now_s: float) -> float:
    """Seconds that a Retry-After header asks for, written as a number or as a date; 0 without."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - now_s)
    except ValueError:
        return 0.0


def _read_kept(path: Path) -> str | None:
    try:
        answer = json.loads(path.read_text(encoding="utf-8"))["answer"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # not asked yet, or damaged since: ask again
    return answer if isinstance(answer, str) else None
