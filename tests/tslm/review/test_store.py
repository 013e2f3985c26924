import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.factories.reviews import OPTIONS
from tslm.review.records import MAX_COMMENT_LENGTH, Review
from tslm.review.store import ReviewConflictError, ReviewStore
from tslm.sqlite_file import transaction

SHA = "a" * 64
GOOD = Review(5, 4, 3, OPTIONS[2], "no K-complex here")


def open_at(path, sha=SHA, **more):
    return ReviewStore(path, sha, Path("run/results/test_predictions.jsonl"), **more)


@pytest.fixture
def store(tmp_path):
    with open_at(tmp_path / "deep" / "reviews.sqlite") as store:
        yield store


def save(store, review=GOOD, reviewer="Ann", sample_id="n1:3", base_revision=0):
    return store.save(reviewer, sample_id, review, OPTIONS, base_revision)


def test_a_review_is_there_after_the_file_is_opened_again(tmp_path):
    path = tmp_path / "reviews.sqlite"
    with open_at(path) as store:
        saved = save(store)
    with open_at(path) as store:
        assert store.find("Ann", "n1:3") == saved
        assert store.list_latest() == [saved]
        assert store.find("Ann", "n1:4") is None
    assert saved.review == GOOD
    assert datetime.now(UTC) - datetime.fromisoformat(saved.saved_at) < timedelta(minutes=1)
    assert saved.saved_at.endswith("+00:00")


def test_every_change_is_kept_and_the_newest_counts(store):
    first = save(store)
    second = save(store, Review(accuracy=1), base_revision=1)
    assert (first.revision, second.revision) == (1, 2)
    assert store.list_history("Ann", "n1:3") == [first, second]
    assert store.list_latest("Ann") == [second]


def test_a_save_whose_answer_was_lost_may_be_repeated(store):
    first = save(store)
    assert save(store) == first
    assert len(store.list_history("Ann", "n1:3")) == 1


def test_a_change_of_something_not_seen_is_refused(store):
    save(store)
    with pytest.raises(ReviewConflictError, match="changed elsewhere"):
        save(store, Review(accuracy=1))
    assert store.find("Ann", "n1:3").review == GOOD


def test_reviewers_do_not_touch_one_another_and_case_is_no_other_name(store):
    save(store)
    save(store, Review(accuracy=2), reviewer="Bo")
    save(store, Review(accuracy=3), reviewer=" ann ", base_revision=1)
    assert [(saved.reviewer, saved.review.accuracy) for saved in store.list_latest()] == [("Bo", 2), ("Ann", 3)]


@pytest.mark.parametrize(
    ("review", "message"),
    [
        (Review(accuracy=0), "accuracy is 0"),
        (Review(coherence=6), "coherence is 6"),
        (Review(completeness=True), "completeness is True"),
        (Review(corrected_stage="N7"), "none of: Wake"),
        (Review(comment="x" * (MAX_COMMENT_LENGTH + 1)), "4001 characters"),
        (Review(comment="a\x00b"), "cannot be printed"),
        (Review(comment="\ud800"), "cannot be printed"),
        (Review(comment="  \n"), "empty"),
    ],
)
def test_what_is_no_review_is_refused_and_nothing_is_saved(store, review, message):
    with pytest.raises(ValueError, match=message):
        save(store, review)
    assert store.list_latest() == []


@pytest.mark.parametrize("name", ["", "  ", "x" * 65, "a\x07b", "\ud800"])
def test_names_that_cannot_be_read_are_refused(store, name):
    with pytest.raises(ValueError, match="1 to 64 printable"):
        save(store, reviewer=name)


def test_a_database_of_other_predictions_is_refused(tmp_path):
    path = tmp_path / "reviews.sqlite"
    open_at(path).close()
    with pytest.raises(ValueError, match="other predictions") as caught:
        open_at(path, sha="b" * 64)
    assert "\n" not in str(caught.value)


def test_what_is_no_database_of_reviews_is_refused_and_left_alone(tmp_path):
    text, other, newer = (tmp_path / name for name in ("text", "other.sqlite", "newer.sqlite"))
    text.write_text("not a database, but long enough to have a header" * 50)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    open_at(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    for path, message in ((text, "damaged or no database"), (other, "not of reviews"), (newer, "of version 99")):
        with pytest.raises(ValueError, match=message):
            open_at(path)
    assert text.read_text().startswith("not a database")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "reviews.sqlite").mkdir()
    with pytest.raises(OSError, match="unable to open") as caught:
        open_at(tmp_path / "reviews.sqlite")
    assert "\n" not in str(caught.value)


def test_blinding_belongs_to_the_file_and_to_each_review(tmp_path):
    path = tmp_path / "reviews.sqlite"
    with open_at(path, start_blinded=True) as store:
        assert save(store).blinded
    with open_at(path) as store:
        assert store.is_blinded
        store.unblind()
        assert not save(store, Review(accuracy=1), base_revision=1).blinded
        assert [saved.blinded for saved in store.list_history("Ann", "n1:3")] == [True, False]


def test_threads_and_processes_write_at_once_and_lose_nothing(tmp_path):
    path = tmp_path / "reviews.sqlite"
    with open_at(path) as one, open_at(path) as other:
        jobs = [
            threading.Thread(target=save, args=(store, GOOD, f"r{number}", f"n1:{idx}"))
            for number, store in enumerate((one, other, one, other))
            for idx in range(5)
        ]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        assert len({(saved.reviewer, saved.sample_id) for saved in one.list_latest()}) == 20


def test_what_was_said_to_be_saved_survives_a_kill(tmp_path):
    path = tmp_path / "reviews.sqlite"
    code = (
        "import sys; from pathlib import Path; from tslm.review.store import ReviewStore, Review\n"
        f"store = ReviewStore(Path({str(path)!r}), {SHA!r}, Path('p'))\n"
        "for idx in range(10_000):\n"
        "    store.save('Ann', f'n1:{idx}', Review(accuracy=idx % 5 + 1), ('Wake',), 0); print(idx, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        told = [int(process.stdout.readline()) for _ in range(20)]
        process.kill()
        told += [int(line) for line in process.stdout if line.endswith("\n")]
    with open_at(path) as store:
        saved = [review.sample_id for review in store.list_latest()]
        assert saved[: len(told)] == [f"n1:{idx}" for idx in told]
        assert len(saved) <= len(told) + 1
        assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_is_saved_would_outlive_a_power_cut_too(store):
    pragmas = {
        name: store._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}  # 2: FULL, every commit is on the disk


def test_a_change_that_fails_halfway_leaves_nothing(store):
    saved = save(store)

    def change_twice():
        with transaction(store._connection) as cursor:
            cursor.execute("UPDATE review SET comment = 'half'")
            cursor.execute("UPDATE review SET accuracy = 7")

    with pytest.raises(sqlite3.IntegrityError):
        change_twice()
    assert store.list_history("Ann", "n1:3") == [saved]
    assert save(store, Review(1, 1, 1, OPTIONS[0], ""), base_revision=1).revision == 2


def test_the_tables_refuse_what_code_should_not_have_let_through(store):
    save(store)
    for statement in (
        "UPDATE review SET accuracy = 7",
        "UPDATE review SET reviewer_id = 99",
        "INSERT INTO review SELECT NULL, reviewer_id, sample_id, revision, 1, 1, 1, NULL, '', 0, 1, '' FROM review",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            store._connection.execute(statement)
