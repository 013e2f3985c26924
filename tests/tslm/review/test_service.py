import csv
import io
import json

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from starlette.testclient import TestClient

from tests.factories.reviews import OPTIONS, make_rows, write_run
from tslm.review.run_epochs import hide_expert, order_epochs, read_review_run
from tslm.review.service import STATUS_OF_ERROR, ReviewService
from tslm.review.store import ReviewStore
from tslm.serve.app import build_app

ADDRESS = "http://127.0.0.1:8765"
EMPTY = {"accuracy": None, "completeness": None, "coherence": None, "corrected_stage": None, "comment": ""}
WHOLE = {
    "accuracy": 5,
    "completeness": 4,
    "coherence": 3,
    "corrected_stage": OPTIONS[1],
    "comment": "=cmd|' /C calc'!A0",
}


@pytest.fixture
def connect(tmp_path):
    """Opens a run under review as a client of its server."""
    stores = []

    def open_client(rows=None, name="run", reviewer=None, limit=None, **more):
        run = read_review_run(write_run(tmp_path / name, rows))
        store = ReviewStore(
            run.predictions_path.with_name("reviews.sqlite"), run.predictions_sha256, run.predictions_path, **more
        )
        stores.append(store)
        service = ReviewService(run, store, order_epochs(run, "uncertainty", limit=limit), reviewer)
        return TestClient(
            build_app(service.build_routes(lambda recording: f"<p>{recording}</p>"), (), STATUS_OF_ERROR),
            base_url=ADDRESS,
        )

    yield open_client
    for store in stores:
        store.close()


def put(client, review=WHOLE, **changes):
    body = {"reviewer": "Ann", "sample_id": "n1:3", "base_revision": 0, **review, **changes}
    return client.put("/api/review", content=json.dumps(body), headers={"content-type": "application/json"})


def get(client, sample_id="n1:3", reviewer="Ann"):
    return client.get("/api/review", params={"reviewer": reviewer, "sample_id": sample_id})


def test_a_review_comes_back_as_it_was_saved(connect):
    client = connect()
    assert get(client).json() == {"revision": 0, "saved_at": None, **EMPTY}
    saved = put(client).json()
    assert saved == {"revision": 1, "saved_at": saved["saved_at"], **WHOLE}
    assert get(client).json() == saved
    assert get(client, reviewer="Bo").json()["revision"] == 0


def test_the_queue_tells_where_a_reviewer_stopped(connect):
    client = connect(limit=5)
    first, second, *_ = [
        entry["sample_id"] for entry in client.get("/api/queue", params={"reviewer": "Ann"}).json()["epochs"]
    ]
    put(client, sample_id=first)
    put(client, EMPTY, sample_id=second, accuracy=2)
    queue = client.get("/api/queue", params={"reviewer": "ANN"}).json()
    assert [entry["state"] for entry in queue["epochs"]] == ["complete", "begun", "open", "open", "open"]
    assert queue["num_complete"] == 1
    assert client.get("/api/queue", params={"reviewer": "Bo"}).json()["num_complete"] == 0
    assert client.get("/api/progress").json() == {"num_epochs": 5, "num_complete": {"Ann": 1}}


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"accuracy": 6}, 400, "accuracy is 6"),
        ({"accuracy": 2.5}, 400, "accuracy is missing or not of type int"),
        ({"accuracy": True}, 400, "accuracy"),
        ({"coherence": "5"}, 400, "coherence"),
        ({"corrected_stage": "N7"}, 400, "none of: Wake"),
        ({"comment": None}, 400, "comment is missing"),
        ({"sample_id": "n1:99"}, 404, "no epoch 'n1:99'"),
        ({"sample_id": "\ud800"}, 404, "no epoch"),
        ({"reviewer": ""}, 400, "1 to 64 printable"),
        ({"reviewer": "a\nb\x00"}, 400, "1 to 64 printable"),
        ({"base_revision": 7}, 409, "changed elsewhere"),
        ({"mood": "good"}, 400, "unknown key 'mood'"),
        (EMPTY, 400, "empty"),
    ],
)
def test_what_cannot_be_saved_is_told_in_one_line(connect, changes, status, message):
    client = connect()
    answer = put(client, **changes)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert client.get("/api/progress").json()["num_complete"] == {}


def test_a_missing_argument_is_told_in_one_line(connect):
    answer = connect().get("/api/queue")
    assert (answer.status_code, answer.json()) == (422, {"error": "query.reviewer: Field required"})


def test_a_server_for_one_reviewer_takes_nobody_else(connect):
    client = connect(reviewer="Ann")
    assert client.get("/api/run").json()["reviewer"] == "Ann"
    assert put(client).status_code == 200
    assert "started for Ann" in put(client, reviewer="Bo").json()["error"]


def test_an_export_holds_the_own_reviews_alone_and_no_formula(connect):
    client = connect()
    put(client)
    put(client, reviewer="Bo", comment="two\nlines, and a comma")
    text = client.get("/api/export.csv", params={"reviewer": "Ann"}).text
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["reviewer"] == "Ann"
    assert row["comment"] == "'" + WHOLE["comment"]
    assert row["expert_label"] in OPTIONS
    (other,) = csv.DictReader(io.StringIO(client.get("/api/export.csv", params={"reviewer": "Bo"}).text))
    assert other["comment"] == "two\nlines, and a comma"


def test_a_blinded_server_says_the_same_whatever_the_expert_said(connect):
    """Two runs that differ in nothing but the expert's labels and reference texts."""
    said = []
    for seed in (1, 2):
        client = connect(make_rows(40, truth_seed=seed), name=f"run{seed}", start_blinded=True)
        put(client)
        answers = [client.get("/api/queue", params={"reviewer": "Ann"}), get(client)]
        answers += [get(client, f"n1:{idx}") for idx in range(40)]
        answers += [client.get("/api/export.csv", params={"reviewer": "Ann"})]
        said.append([answer.text for answer in answers])
    changing = ("saved_at", "predictions_sha256", "run")
    assert [len(text) for text in said[0]] == [len(text) for text in said[1]]
    assert said[0][0] == said[1][0]
    rows = [next(csv.DictReader(io.StringIO(texts[-1]))) for texts in said]
    assert "expert_label" not in rows[0]
    one, other = ({name: value for name, value in row.items() if name not in changing} for row in rows)
    assert one == other


def test_rows_without_the_expert_have_nothing_else_of_theirs(connect, tmp_path):
    runs = [read_review_run(write_run(tmp_path / str(seed), make_rows(40, truth_seed=seed))) for seed in (1, 2)]
    assert hide_expert(runs[0].scorings) == hide_expert(runs[1].scorings)
    assert runs[0].rows != runs[1].rows


def test_a_run_of_another_task_cannot_be_reviewed(tmp_path):
    rows = [row | {"options": ["A", "B"], "truth": "A"} for row in make_rows(3)]
    for row in rows:
        del row["probabilities"]
        row |= {"answer": "A"} if "answer" in row else {}
    with pytest.raises(ValueError, match="not of sleep staging"):
        read_review_run(write_run(tmp_path, rows))
