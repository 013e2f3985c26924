"""The teacher end to end against a server on this machine, whose answers a test can spoil."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from data_prep import teacher
from data_prep.rationales.chat import ChatClient, Endpoint, NoAnswerError, RateLimit, RefusedError
from data_prep.rationales.compose import write_rationales
from data_prep.teacher import build_messages, filter_answer
from tests.factories.servers.local_server import LocalServer
from tslm.data.prepared.recordings import (
    Recording,
    read_participants,
    read_recording,
    write_participants,
    write_recording,
)
from tslm.evidence.measure import measure_evidence
from tslm.evidence.words import epoch_facts
from tslm.labels import ANSWER_NAMES, SleepStage

KEY = "sk-secret-0123456789"
STAGES = (SleepStage.WAKE, SleepStage.N2, SleepStage.N3, SleepStage.REM, SleepStage.UNSCORED)
HELLO = [{"role": "user", "content": "hello"}]


class ChatServer(LocalServer):
    """Answers POST /v1/chat/completions by `reply`, or with the statuses and bodies given for the next requests."""

    def __init__(self) -> None:
        self.reply: Callable[[dict], str] = lambda _request: "fine"
        self.spoilt: list[tuple[int, bytes, dict[str, str]]] = []  # (status, body, headers), used up in order
        self.hangs: list[threading.Event] = []  # one a request, used up in order
        self.requests: list[dict] = []
        self.keys: set[str] = set()
        super().__init__()

    @property
    def url(self) -> str:
        return f"{super().url}/v1"

    def build_handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                owner.requests.append(request)
                owner.keys.add(self.headers.get("Authorization", ""))
                assert self.path == "/v1/chat/completions"
                if owner.hangs:
                    owner.hangs.pop(0).wait(5)
                    return
                status, body, headers = 200, b"", {}
                if owner.spoilt:
                    status, body, headers = owner.spoilt.pop(0)
                else:
                    body = json.dumps({"choices": [{"message": {"content": owner.reply(request)}}]}).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def chat() -> Iterator[ChatServer]:
    running = ChatServer()
    yield running
    running.close()


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights of ten epochs with true evidence."""
    folder = tmp_path_factory.mktemp("cohort")
    rows = []
    for number, split in enumerate(("train", "test")):
        rng = np.random.default_rng(number)
        time_s = np.arange(3000) / 100
        epochs_EL = np.stack(
            [30 * np.sin(2 * np.pi * rng.uniform(1, 12) * time_s) + rng.normal(0, 5, 3000) for _ in range(10)]
        )
        epochs_EL = epochs_EL.astype(np.float32)
        stages = STAGES * 2
        evidence = measure_evidence(epochs_EL, 100.0)
        columns = {**evidence, "rationale": write_rationales(evidence, stages, number)}
        onset_s = 30.0 * np.arange(10)
        name = f"night{number}"
        night = Recording(name, name, 100.0, 30.0, {"EEG": epochs_EL}, stages, onset_s, columns, sex="F")
        rows.append(write_recording(night, folder, split))
    write_participants(rows, folder)
    return folder


def answer_truly(request: dict) -> str:
    """Two measured facts as a teacher would say them, and the label it was given."""
    said = request["messages"][1]["content"]
    rms = re.search(r"RMS amplitude: (\d+) uV", said)
    spindles = re.search(r"sleep spindles: (\d+)", said)
    label = re.search(r"The expert's stage: (.*)", said)
    assert rms and spindles and label
    return f"The RMS amplitude is {rms[1]} uV.\nThere are {spindles[1]} spindles. Answer: {label[1]}"


def teach(chat: ChatServer, cohort: Path, out: Path, *words: str) -> int:
    return teacher.main(["--data", str(cohort), "--out", str(out), "--base_url", chat.url, "--model", "m", *words])


def client_of(chat: ChatServer, cache: Path, waits: list[float] | None = None, **endpoint: float) -> ChatClient:
    limit = RateLimit(0)
    settings = Endpoint(chat.url, "m", KEY, **endpoint)  # type: ignore[arg-type]
    return ChatClient(settings, cache, limit, clock=lambda: 1000.0, sleep=(waits if waits is not None else []).append)


def test_a_true_teacher_writes_every_rationale(
    chat: ChatServer,
    cohort: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    chat.reply = answer_truly
    assert teach(chat, cohort, tmp_path / "out") == 0
    output = capsys.readouterr()
    assert "16 teacher" in output.out
    assert "16 requests sent" in output.out
    assert chat.keys == {f"Bearer {KEY}"}
    before, after = (read_recording(folder / "night0.parquet") for folder in (cohort, tmp_path / "out"))
    assert after.columns["rationale_source"] == ["teacher"] * 4 + [""] + ["teacher"] * 4 + [""]
    assert re.fullmatch(r"The RMS amplitude is \d+ uV. There are \d+ spindles.", after.columns["rationale"][0])
    np.testing.assert_allclose(after.channels["EEG"], before.channels["EEG"], rtol=1e-6)
    for name in set(before.columns) - {"rationale"}:
        np.testing.assert_array_equal(after.columns[name], before.columns[name])
    rows = {row.recording: (row.split.part, row.sex) for row in read_participants(tmp_path / "out")}
    assert rows == {"night0": ("train", "F"), "night1": ("test", "F")}
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not any(KEY.encode() in content for content in [*written, output.out.encode(), output.err.encode()])


def test_a_second_run_asks_nothing_and_gives_the_same(chat: ChatServer, cohort: Path, tmp_path: Path) -> None:
    chat.reply = answer_truly
    assert teach(chat, cohort, tmp_path / "out") == 0
    first = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    num_requests = len(chat.requests)
    assert teach(chat, cohort, tmp_path / "out") == 0
    assert len(chat.requests) == num_requests == 16
    assert {path: path.read_bytes() for path in first} == first


def test_a_run_that_broke_off_asks_only_for_the_rest(
    chat: ChatServer, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer_five(request: dict) -> str:
        if len(chat.requests) == 6:
            chat.spoilt = [(401, b"no", {})]
        return answer_truly(request)

    chat.reply = answer_five
    assert teach(chat, cohort, tmp_path / "out", "--workers", "1") == 1
    assert "refuses the key (401" in capsys.readouterr().err
    assert not (tmp_path / "out" / "participants.tsv").exists()
    num_kept = len(list((tmp_path / "out").rglob("*.json")))
    assert num_kept >= 6
    chat.reply, before = answer_truly, len(chat.requests)
    chat.spoilt = []
    assert teach(chat, cohort, tmp_path / "out") == 0
    assert len(chat.requests) - before == 16 - num_kept


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("The RMS amplitude is 900 uV. Answer: {label}", "contradicts a measurement"),
        ("It looks as one would expect. Answer: {label}", "makes no claim that can be checked"),
        ("The RMS amplitude is {rms} uV, as in N2 or REM sleep. Answer: {label}", "names a stage before the end"),
        ("The RMS amplitude is {rms} uV. Answer: Movement", "does not end in the label"),
        ("The RMS amplitude is {rms} uV.", "does not end in the label"),
        ("The RMS amplitude is {rms} uV. " + "So it is. " * 100 + "Answer: {label}", "is too long"),
    ],
)
def test_an_answer_that_fails_the_filter_leaves_the_rationale_from_evidence(
    reply: str, reason: str, chat: ChatServer, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(request: dict) -> str:
        said = request["messages"][1]["content"]
        rms, label = re.search(r"RMS amplitude: (\d+)", said), re.search(r"The expert's stage: (.*)", said)
        assert rms and label
        return reply.format(rms=rms[1], label=label[1])

    chat.reply = spoil
    assert teach(chat, cohort, tmp_path / "out", "--limit", "2") == 0
    assert f"2 evidence: the answer {reason}" in capsys.readouterr().out
    before, after = (read_recording(folder / "night1.parquet") for folder in (cohort, tmp_path / "out"))
    assert after.columns["rationale"] == before.columns["rationale"]
    assert set(after.columns["rationale_source"]) == {"evidence", ""}


def test_limit_spreads_over_the_nights(chat: ChatServer, cohort: Path, tmp_path: Path) -> None:
    chat.reply = answer_truly
    assert teach(chat, cohort, tmp_path / "out", "--limit", "6") == 0
    nights = [read_recording(tmp_path / "out" / f"night{number}.parquet") for number in (0, 1)]
    assert [list(night.columns["rationale_source"]).count("teacher") for night in nights] == [3, 3]


def test_too_many_requests_are_tried_again_as_late_as_the_server_asks(chat: ChatServer, tmp_path: Path) -> None:
    date = formatdate(1000.0 + 40, usegmt=True)
    chat.spoilt = [
        (429, b"", {"Retry-After": "7"}),
        (429, b"", {"Retry-After": date}),
        (503, b"", {"Retry-After": "soon"}),
        (500, b"", {"Retry-After": "100000"}),
    ]
    waits: list[float] = []
    assert client_of(chat, tmp_path, waits, backoff_s=1.0).ask(HELLO) == "fine"
    assert waits == [7.0, 40.0, 4.0, 300.0]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"message": {"content": null}}]}', b"\xff", b'{"choi'],
)
def test_a_malformed_answer_is_asked_for_again(body: bytes, chat: ChatServer, tmp_path: Path) -> None:
    chat.spoilt = [(200, body, {})]
    client = client_of(chat, tmp_path)
    assert client.ask(HELLO) == "fine"
    assert client.num_asked == 2


def test_a_silent_server_is_given_up(chat: ChatServer, tmp_path: Path) -> None:
    chat.hangs = [threading.Event(), threading.Event()]
    events = list(chat.hangs)
    waits: list[float] = []
    with pytest.raises(NoAnswerError, match="no usable answer"):
        client_of(chat, tmp_path, waits, timeout_s=0.1, num_tries=2).ask(HELLO)
    for event in events:
        event.set()
    assert waits == [1.0]
    assert not list(tmp_path.rglob("*.json"))


def test_an_endpoint_that_is_down_stops_the_run(
    chat: ChatServer, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat.spoilt = [(500, b"", {})] * 100
    assert teach(chat, cohort, tmp_path / "out", "--workers", "1", "--num_tries", "1") == 1
    assert "5 times in a row" in capsys.readouterr().err
    assert len(chat.requests) <= 8


def test_single_epochs_without_an_answer_keep_their_rationale(
    chat: ChatServer, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chat.reply = answer_truly
    chat.spoilt = [(500, b"", {})] * 2
    assert teach(chat, cohort, tmp_path / "out", "--workers", "1", "--num_tries", "1") == 0
    output = capsys.readouterr().out
    assert "14 teacher" in output
    assert "2 evidence: no answer" in output


def test_a_refusal_is_not_tried_again_and_never_repeats_the_key(chat: ChatServer, tmp_path: Path) -> None:
    chat.spoilt = [(400, f"bad model; your key {KEY}".encode(), {})]
    client = client_of(chat, tmp_path)
    with pytest.raises(RefusedError, match=r"400 .*bad model; your key \*\*\*"):
        client.ask(HELLO)
    assert client.num_asked == 1
    assert KEY not in repr(client.endpoint)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_takes_the_key_to_another_host(status: int, chat: ChatServer, tmp_path: Path) -> None:
    other = ChatServer()
    chat.spoilt = [(status, b"", {"Location": f"{other.url}/chat/completions?key={KEY}"})]
    with pytest.raises(RefusedError, match=rf"redirects to {other.url}.*key=\*\*\*, .*check --base_url"):
        client_of(chat, tmp_path).ask(HELLO)
    other.close()
    assert not other.keys
    assert not other.requests


def test_a_damaged_answer_on_disk_is_asked_for_again(chat: ChatServer, tmp_path: Path) -> None:
    client = client_of(chat, tmp_path)
    client.ask(HELLO)
    (kept,) = tmp_path.rglob("*.json")
    kept.write_text('{"answer": ')
    assert client.ask(HELLO) == "fine"
    assert client.num_asked == 2
    assert client.ask(HELLO) == "fine"
    assert client.num_asked == 2


def test_another_model_or_wording_is_another_request(chat: ChatServer, tmp_path: Path) -> None:
    for model, text in (("m", "a"), ("m", "b"), ("n", "a"), ("m", "a")):
        endpoint = Endpoint(chat.url, model)
        ChatClient(endpoint, tmp_path, RateLimit(0)).ask([{"role": "user", "content": text}])
    assert len(chat.requests) == 3


def test_requests_keep_to_their_rate() -> None:
    now_s = [0.0]
    sent_s: list[float] = []

    def sleep(wait_s: float) -> None:
        now_s[0] += wait_s

    limit = RateLimit(30, burst=3, clock=lambda: now_s[0], sleep=sleep)
    for _ in range(7):
        limit.wait()
        sent_s.append(now_s[0])
    assert sent_s == pytest.approx([0, 0, 0, 2, 4, 6, 8])
    now_s[0] += 100
    limit.wait()
    assert now_s[0] == pytest.approx(108)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--limit", "-1"], "--limit -1"),
        (["--workers", "0"], "--workers"),
        (["--base_url", "ftp://x"], "--base_url ftp://x"),
        (["--data", "/nowhere"], "participants.tsv is missing"),
    ],
)
def test_a_mistake_in_the_call_is_one_line(
    words: list[str], said: str, chat: ChatServer, cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert teach(chat, cohort, tmp_path / "out", *words) == 2
    assert said in capsys.readouterr().err
    assert not chat.requests


def test_the_cohort_itself_is_never_written_to(
    chat: ChatServer, cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in cohort.iterdir()}
    assert teach(chat, cohort, cohort) == 2
    assert "give another folder" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in cohort.iterdir()} == before


@pytest.mark.parametrize("stage", [SleepStage.WAKE, SleepStage.N1, SleepStage.N2, SleepStage.N3, SleepStage.REM])
def test_our_own_rationales_pass_the_filter(stage: SleepStage) -> None:
    rng = np.random.default_rng(3)
    time_s = np.arange(3000) / 100
    epochs_EL = np.stack([20 * np.sin(2 * np.pi * hz * time_s) + rng.normal(0, 8, 3000) for hz in (1, 5, 10, 13)])
    evidence = measure_evidence(epochs_EL.astype(np.float32), 100.0)
    for idx, text in enumerate(write_rationales(evidence, [stage] * 4, 0)):
        row = {name: float(values[idx]) for name, values in evidence.items()}
        assert filter_answer(f"{text} Answer: {ANSWER_NAMES[stage]}", stage, row)[0]


def test_a_request_states_what_was_measured_and_nothing_of_waveforms_in_rodents() -> None:
    evidence = measure_evidence(np.random.default_rng(0).normal(0, 10, (1, 3000)).astype(np.float32), 100.0)
    facts = epoch_facts(evidence, 0)
    human = build_messages(facts, SleepStage.N2, "human", 30)[1]["content"]
    mouse = build_messages(facts, SleepStage.NREM, "mouse", 10)[1]["content"]
    assert f"RMS amplitude: {facts['rms_uv']:.0f} uV" in human
    assert "The expert's stage: Non-REM stage 2" in human
    assert "spindles" in human
    assert "spindles" not in mouse
    assert "10-second epoch (mouse" in mouse
