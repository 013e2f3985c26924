import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")
pytest.importorskip("playwright", reason="playwright is not installed (extra dev)")

from playwright.sync_api import expect

from tests.factories.browser import DESKTOP, PHONE
from tests.factories.servers.nights import build_service, end_with_files, run_app
from tslm.serve.rest.routes import build_service_app
from tslm.serve.rest.service import StagingService

STATISTICS = {
    "statistics": {
        "total_sleep_min": 342.0, "sleep_efficiency_percent": 78.04, "sleep_onset_latency_min": 4.0,
        "rem_latency_min": None, "waso_min": 22.0,
    },
    "warnings": ["C4 is a central EEG"],
}  # fmt: skip
DROP = """name => {
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(5000)], name));
    document.querySelector("#drop").dispatchEvent(new DragEvent("drop", {bubbles: true, dataTransfer: files}));
}"""


class Shown:
    """A page of the service in a browser, and what its console said."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.said = page, []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.goto(address)
        expect(page.locator("#version")).to_have_text(re.compile("tslm"))

    def drop(self, name: str) -> Any:
        self.page.evaluate(DROP, name)
        return self.page.locator("article").first


@pytest.fixture
def service(tmp_path: Path) -> StagingService:
    return build_service(tmp_path, max_waiting=1)


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desk", "phone"])
def shown(service: StagingService, chromium: Any, request: pytest.FixtureRequest) -> Iterator[Shown]:
    with run_app(build_service_app(service)) as address:
        page = chromium.new_page(viewport=request.param)
        yield Shown(page, address)
        page.close()


def end(service: StagingService, error: str = "") -> str:
    job = service.store.claim()
    assert job is not None
    if error:
        service.store.end(job.id, error)
        return job.id
    end_with_files(service, job.id)
    folder = service.folders.result(job.id)
    (folder / "statistics.json").write_text(json.dumps(STATISTICS))
    (folder / "report.html").write_text("<h1>The night</h1><script>document.title = typeof fetch</script>")
    return job.id


def test_a_dropped_recording_is_seen_to_its_report(shown: Shown, service: StagingService) -> None:
    card = shown.drop("<b>night</b>.edf")
    expect(card.locator(".detail")).to_have_text("place 1 in the queue")
    expect(card.locator("h2")).to_have_text("<b>night</b>.edf")  # as text
    end(service)
    expect(card.locator(".state")).to_have_text("done")
    expect(card.locator("dd")).to_have_text(["342 min", "78.0 %", "4 min", "–", "22 min"])
    expect(card.locator(".links a").first).to_have_text("report in a tab")
    expect(card).to_contain_text("C4 is a central EEG")
    card.get_by_role("button", name="Show the report").click()
    expect(card.frame_locator("iframe").locator("h1")).to_have_text("The night")
    width = shown.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]
    assert [text for text in shown.said if "Content Security Policy" in text or "Error" in text] == []


def test_a_failure_a_busy_service_and_a_wrong_file_are_said(shown: Shown, service: StagingService) -> None:
    first = shown.drop("first.edf")
    expect(first.locator(".state")).to_have_text("waiting")
    busy = shown.drop("second.edf")
    expect(busy.locator(".detail")).to_contain_text("busy; the recording is sent again in 10 s")
    busy.get_by_role("button", name="Cancel").click()
    end(service, "first.edf has no EEG")
    expect(shown.page.locator("article.failed .detail")).to_have_text("first.edf has no EEG")
    wrong = shown.drop("night.zip")
    expect(wrong.locator(".detail")).to_contain_text("no name of a recording")


def test_epochs_are_explained_and_nights_deleted_from_the_page(shown: Shown, service: StagingService) -> None:
    card = shown.drop("night.edf")
    expect(card.locator(".state")).to_have_text("waiting")
    job_id = end(service)
    card.locator("input[name=epochs]").fill("3,5-6")
    card.get_by_role("button", name="Explain").click()
    expect(shown.page.locator("article")).to_have_count(2)
    assert [job.options.explain for job in service.store.list_jobs()] == ["3,5-6", "none"]
    shown.page.on("dialog", lambda dialog: dialog.accept())
    shown.page.locator("article.done").get_by_role("button", name="Delete").click()
    expect(shown.page.locator("article")).to_have_count(1)
    assert service.store.find(job_id) is None
