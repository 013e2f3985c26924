import re
import socket
import threading
from contextlib import contextmanager

import pytest

pytest.importorskip("uvicorn", reason="needs the extra serve")
pytest.importorskip("playwright", reason="playwright is not installed (extra dev)")

import uvicorn
from playwright.sync_api import expect

from tests.factories.browser import DESKTOP, PHONE
from tests.factories.reviews import OPTIONS, make_rows, write_night, write_run
from tslm.review.page import ReviewPages, build_content_policy
from tslm.review.records import Review
from tslm.review.run_epochs import order_epochs, read_review_run
from tslm.review.service import STATUS_OF_ERROR, ReviewService
from tslm.review.store import ReviewStore
from tslm.serve.app import build_app

NUM_EPOCHS, NUM_QUEUED = 12, 4


class ReviewServer:
    """A run under review on a port of its own, which can go away and come back."""

    def __init__(self, folder, truth_seed=0, rows=None, **more):
        rows = rows or make_rows(NUM_EPOCHS, truth_seed)
        self.run = read_review_run(write_run(folder, rows))
        for name in {row["recording"] for row in rows}:
            write_night(folder / "data", [row for row in rows if row["recording"] == name])
        self.store = ReviewStore(folder / "r.sqlite", self.run.predictions_sha256, self.run.predictions_path, **more)
        queue = order_epochs(self.run, "uncertainty", limit=NUM_QUEUED)
        self.queue = [self.run.rows[idx]["sample_id"] for idx in queue]
        pages = ReviewPages(self.run, "n1", folder / "data", blinded=self.store.is_blinded)
        service = ReviewService(self.run, self.store, queue)
        self.page = pages.render()
        self.app = build_app(service.build_routes(pages.render), (), STATUS_OF_ERROR, build_content_policy(self.page))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}/"

    def start(self):
        config = uvicorn.Config(self.app, port=self.port, log_level="critical", lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            self._thread.join(0.005)

    def stop(self):
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()


@pytest.fixture
def serve(tmp_path):
    """Starts servers, and ends them after the test."""
    servers = []

    def start(name="run", **more):
        servers.append(ReviewServer(tmp_path / name, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        server.store.close()


@contextmanager
def open_review(chromium, server, name="Ann", may_fail=False, charts=False, **options):
    """The page in a browser that nobody has used, begun under a name; fails where the page logs an error."""
    context = chromium.new_context(**{"viewport": DESKTOP} | options)
    if not charts:
        context.add_init_script("delete window.DecompressionStream")  # a browser too old for them is a faster one
    page = context.new_page()
    wrong = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(server.address)
    page.fill("#review-name input", name)
    page.keyboard.press("Enter")
    wait_until_open(page)
    yield page
    context.close()
    assert may_fail or wrong == []


def wait_until_open(page):
    page.wait_for_selector("#review-fields:not([disabled])")


def wait_until_saved(page):
    expect(page.locator("#review-state")).to_have_text(re.compile("^Saved [0-9]"))


def wait_for_count(page, num_complete):
    expect(page.locator("#review-count")).to_have_text(f"{num_complete} of {NUM_QUEUED} complete")


def shown(page):
    return page.evaluate("tslmPage.night.sample_id[tslmPage.position]")


def checked(page, group):
    return page.eval_on_selector_all(f"input[name={group}]:checked", "found => found.map(input => input.value)")


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def test_a_review_by_keys_alone_is_saved_and_there_after_a_reload(chromium, serve):
    server = serve()
    with open_review(chromium, server) as page:
        first = shown(page)
        assert first == server.queue[0]
        press(page, "4", "5", "3", "2")
        press(page, "c")
        page.keyboard.type("1 more K-complex, n")
        wait_until_saved(page)
        saved = server.store.find("Ann", first)
        assert saved.review == Review(4, 5, 3, OPTIONS[2], "1 more K-complex, n")
        assert page.inner_text("#review-count") == "1 of 4 complete"
        page.reload()
        wait_until_open(page)
        assert shown(page) == first
        assert [checked(page, group) for group in ("accuracy", "corrected_stage")] == [["4"], [OPTIONS[2]]]
        assert page.input_value("#review-comment") == "1 more K-complex, n"
        press(page, "Enter")
        wait_until_open(page)
        assert shown(page) == server.queue[1]
        assert checked(page, "accuracy") == []
        press(page, "Shift+Enter")
        wait_until_open(page)
        assert shown(page) == first


def test_enter_sends_at_once_and_ctrl_enter_does_from_the_comment(chromium, serve):
    server = serve()
    with open_review(chromium, server) as page:
        for keys in (("1", "2", "3", "w", "Enter"), ("5", "5", "5", "r", "c", "o", "k", "Control+Enter")):
            press(page, *keys)
            wait_until_open(page)
        wait_for_count(page, 2)
        reviews = {saved.sample_id: saved.review for saved in server.store.list_latest("Ann")}
        assert reviews[server.queue[0]] == Review(1, 2, 3, "Wake")
        assert reviews[server.queue[1]] == Review(5, 5, 5, "REM sleep", "ok")
        assert shown(page) == server.queue[2]


def test_arrows_go_to_neighbouring_epochs_as_on_the_page_and_keep_what_was_typed(chromium, serve):
    server = serve()
    with open_review(chromium, server) as page:
        first, position = shown(page), page.evaluate("tslmPage.position")
        press(page, "4", "ArrowRight" if position < NUM_EPOCHS - 1 else "ArrowLeft")
        wait_until_open(page)
        assert shown(page) != first
        expect(page.locator("#review-state")).to_have_text("Nothing given for this epoch yet")
        assert server.store.find("Ann", first).review == Review(accuracy=4)
        page.select_option("#review-queue", first)
        wait_until_open(page)
        assert checked(page, "accuracy") == ["4"]


def test_a_mark_in_the_trace_leads_to_the_claim_and_keys_go_on_answering(chromium, serve):
    server = serve()
    with open_review(chromium, server, charts=True) as page:
        page.evaluate("tslmPage.ready")
        first, claim = shown(page), page.locator("mark.claim", has_text="two spindles")
        page.locator("#wave-lanes .event").first.click()
        expect(claim).to_have_class(re.compile("lit"))
        press(page, "4")
        wait_until_saved(page)
        assert server.store.find("Ann", first).review == Review(accuracy=4)
        page.locator(".lane-name").first.press("Enter")  # a button's key, not the form's
        assert shown(page) == first
        press(page, "Escape")
        expect(claim).not_to_have_class(re.compile("lit"))
        claim.hover()
        assert page.locator("#wave-bands .band.lit").count() == 2


def test_a_second_reviewer_sees_the_same_epochs_and_nothing_of_the_first(chromium, serve):
    server = serve()
    with open_review(chromium, server) as page:
        press(page, "1", "1", "1", "w")
        wait_until_saved(page)
    with open_review(chromium, server, "Bo") as page:
        assert shown(page) == server.queue[0]
        assert checked(page, "accuracy") == []
        assert page.inner_text("#review-count") == "0 of 4 complete"
        press(page, "5", "5", "5", "1")
        wait_until_saved(page)
    assert {saved.reviewer: saved.review.accuracy for saved in server.store.list_latest()} == {"Ann": 1, "Bo": 5}


def test_a_server_that_went_away_is_told_and_the_review_is_saved_when_it_is_back(chromium, serve):
    server = serve()
    with open_review(chromium, server, may_fail=True) as page:
        first = shown(page)
        server.stop()
        press(page, "2", "3")
        page.wait_for_selector("#review-state.bad")
        assert "Not saved" in page.inner_text("#review-state")
        asked = []
        page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
        page.close(run_before_unload=True)
        page.wait_for_timeout(100)
        assert asked == ["beforeunload"]
        server.start()
        wait_until_saved(page)
        assert server.store.find("Ann", first).review == Review(2, 3)


def test_the_list_goes_on_in_another_recording_and_nothing_is_lost_on_the_way(chromium, serve):
    rows = make_rows(2)
    for row in rows[1::2]:
        row |= {"recording": "n2", "sample_id": "n2:1"}
    server = serve(rows=rows)
    with open_review(chromium, server) as page:
        page.wait_for_url(f"**#{server.queue[0].replace(':', '%3A')}")  # which may be of the other recording
        wait_until_open(page)
        first = shown(page)
        press(page, "5", "4", "3", "w", "Enter")
        page.wait_for_url(f"**/?recording=*#{server.queue[1].replace(':', '%3A')}")
        wait_until_open(page)
        assert shown(page) != first
        assert page.inner_text("#review-count") == "1 of 2 complete"
        assert server.store.find("Ann", first).review == Review(5, 4, 3, "Wake")
        press(page, "1", "1", "1", "r", "Enter")
        expect(page.locator("#review-done")).to_be_visible()
        wait_until_saved(page)


def test_another_reviewer_begins_when_all_of_the_first_is_saved(chromium, serve):
    server = serve()
    with open_review(chromium, server, may_fail=True) as page:
        page.context.set_offline(True)
        press(page, "2")
        page.click("#review-who")
        page.fill("#review-name input", "Bo")
        page.keyboard.press("Enter")
        assert "not saved yet" in page.eval_on_selector("#review-name input", "input => input.validationMessage")
        page.context.set_offline(False)
        expect(page.locator("#review-state")).to_have_text(re.compile("^Saved"))
        page.fill("#review-name input", "Bo")
        page.keyboard.press("Enter")
        expect(page.locator("#review-who")).to_have_text("Bo")
        wait_until_open(page)
        assert checked(page, "accuracy") == []
        assert server.store.find("Ann", shown(page)).review == Review(accuracy=2)


def test_a_draft_outlives_its_page(chromium, serve):
    server = serve()
    with open_review(chromium, server, may_fail=True) as page:
        server.stop()
        press(page, "2")
        page.wait_for_selector("#review-state.bad")
        other = page.context.new_page()
        page.close()
        server.start()
        other.goto(server.address)
        wait_until_open(other)
        wait_until_saved(other)
        assert server.store.find("Ann", server.queue[0]).review == Review(accuracy=2)


def test_a_change_made_elsewhere_is_not_written_over_unasked(chromium, serve):
    server = serve()
    with open_review(chromium, server, may_fail=True) as page:
        first = shown(page)
        server.store.save("Ann", first, Review(accuracy=5), OPTIONS, 0)
        press(page, "1")
        page.click("text=Take the saved one")
        expect(page.locator("input[name=accuracy][value='5']")).to_be_checked()
        server.store.save("Ann", first, Review(accuracy=4), OPTIONS, 1)
        page.check("input[name=accuracy][value='2']", force=True)
        page.click("text=Save mine")
        wait_until_saved(page)
        assert [saved.review.accuracy for saved in server.store.list_history("Ann", first)] == [5, 4, 2]


def test_nothing_that_is_served_to_a_blinded_reviewer_depends_on_the_expert(chromium, serve):
    """Two servers whose runs differ in nothing but the expert's labels, in the predictions and in the recording."""
    one, other = (serve(f"run{seed}", truth_seed=seed, start_blinded=True) for seed in (1, 2))
    assert [row["truth"] for row in one.run.rows] != [row["truth"] for row in other.run.rows]
    assert one.page == other.page
    assert "Reference text 1." not in one.page
    with open_review(chromium, one, charts=True) as page:
        page.evaluate("tslmPage.ready")
        assert page.locator("#night-chart .main-svg").count()
        assert "Expert" not in page.inner_text("#epoch")
        assert "expert hidden" in page.inner_text("#review")
        assert page.evaluate("'expert' in tslmPage.night") is False
        press(page, "1", "1", "1", "w")
        wait_until_saved(page)
    assert one.store.find("Ann", one.queue[0]).blinded


def test_the_form_fits_a_phone_and_works_by_touch(chromium, serve):
    server = serve()
    with open_review(chromium, server, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        for group, value in (("accuracy", "5"), ("completeness", "4"), ("coherence", "3"), ("corrected_stage", "Wake")):
            choice = page.locator(f"label:has(input[name={group}][value='{value}'])")
            assert min(choice.bounding_box()[side] for side in ("width", "height")) >= 43
            choice.tap()
        page.tap("#review-next")
        wait_for_count(page, 1)
        assert server.store.find("Ann", server.queue[0]).review == Review(5, 4, 3, "Wake")


def test_everything_that_takes_input_has_a_name_for_screen_readers(chromium, serve):
    with open_review(chromium, serve()) as page:
        unnamed = page.eval_on_selector_all(
            "#review input, #review select, #review textarea, #review button, #review-name input",
            "all => all.filter(e => !(e.ariaLabel || e.textContent || (e.labels && e.labels.length))).length",
        )
        assert unnamed == 0
        for group in ("accuracy", "completeness", "coherence", "corrected_stage"):
            assert page.get_by_role("group", name=page.locator(f"[data-group={group}] legend").inner_text()[:8]).count()
        assert page.locator("#review-state").get_attribute("role") == "status"
