import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="needs the extra serve")

from starlette.testclient import TestClient

from tests.factories.servers.nights import HYPNOGRAM, build_service, end_with_files
from tslm.export.table import EXPORTS
from tslm.serve.jobs.results import RESULTS, guess_media_type
from tslm.serve.jobs.uploads import RECORDINGS
from tslm.serve.rest.routes import build_service_app
from tslm.serve.rest.service import StagingService

ADDRESS = "http://127.0.0.1:8000"
NIGHT = ("night.edf", b"0" * 1000)


@pytest.fixture
def service(tmp_path: Path) -> StagingService:
    return build_service(tmp_path)


@pytest.fixture
def client(service: StagingService) -> TestClient:
    return TestClient(build_service_app(service), base_url=ADDRESS)


def post(client: TestClient, file: Any = NIGHT, **options: Any) -> Any:
    return client.post("/v1/jobs", files={"file": file}, params=options)


def list_files(service: StagingService) -> list[str]:
    return sorted(path.name for path in service.folders.root.rglob("*") if path.is_file())


def test_a_recording_becomes_a_job_that_waits(service: StagingService, client: TestClient) -> None:
    answer = post(
        client, smoothing="hmm", channel="C4 - M1", extra_channels=["E1", "Chin"], epoch_s=30, read="fs_hz=100"
    )
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["file"], job["place"], job["results"]) == ("waiting", "night.edf", 1, {})
    assert job["options"] == {
        "model": "human", "explain": "none", "channel": "C4 - M1", "extra_channels": ["E1", "Chin"], "epoch_s": 30.0,
        "smoothing": "hmm", "read": ["fs_hz=100"],
    }  # fmt: skip
    assert client.get(answer.headers["location"]).json() == job
    assert client.get("/v1/jobs").json() == {"jobs": [job]}
    assert (service.folders.upload(job["id"]) / "night.edf").read_bytes() == NIGHT[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "nobody"}, "choose one of: human"),
        ({"model": "../../etc"}, "is not served"),
        ({"model": "rodent"}, "is not served"),  # a name of the package that this service does not offer
        ({"explain": "some"}, "wanted uncertain, all, none, or epochs"),
        ({"explain": "9-1"}, "ends before it begins"),
        ({"explain": "0-99999999999"}, "so many epochs"),
        ({"smoothing": "much"}, "choose one of: none, median"),
        ({"epoch_s": 4}, "reads epochs of 30 s"),
        ({"epoch_s": -1}, "greater than or equal to 0"),
        ({"epoch_s": "nan"}, "query.epoch_s"),
        ({"extra_channels": "E1"}, "1 extra channels"),
        ({"channel": "x" * 999}, "at most 200"),
        ({"read": "fs_hz=much"}, "fs_hz"),
        ({"read": "rate=100"}, "rate"),
        ({"read": "unit=${oc.env:HOME}"}, "unit"),
    ],
)
def test_an_option_that_cannot_be_is_422_before_the_upload(
    service: StagingService, client: TestClient, options: dict[str, Any], said: str
) -> None:
    answer = post(client, **options)
    assert (answer.status_code, list(answer.json())) == (422, ["error"])
    assert said in answer.json()["error"]
    assert list_files(service) == [] and client.get("/v1/jobs").json() == {"jobs": []}


@pytest.mark.parametrize(
    ("file", "status"),
    [
        (("night.edf", b""), 400),
        (("night.zip", b"PK\3\4" + b"0" * 99), 415),
        (("night.edf.gz", b"\x1f\x8b" + b"0" * 99), 415),
        (("..", b"0"), 415),
        (("night.edf", b"0" * 200_000), 413),
        (("night.edf", b"0" * 100_001), 413),
        (("night.edf", b"0" * 100_000), 202),
    ],
)
def test_a_recording_that_is_none_leaves_nothing(
    service: StagingService, client: TestClient, file: tuple[str, bytes], status: int
) -> None:
    assert post(client, file).status_code == status
    assert bool(list_files(service)) == (status == 202)
    assert service.store.count("uploading") == 0


def test_a_length_that_is_not_stated_is_limited_too(service: StagingService, client: TestClient) -> None:
    def stream() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="n.edf"\r\n\r\n'
        for _ in range(30):
            yield b"0" * 10_000

    answer = client.post("/v1/jobs", content=stream(), headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 413
    assert list_files(service) == []


def test_paths_in_names_stay_in_the_jobs_folder(service: StagingService, client: TestClient, tmp_path: Path) -> None:
    answer = post(client, ("../../../escaped.edf", b"0"))
    assert answer.json()["file"] == "escaped.edf"
    assert [path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("escaped.edf")] == ["jobs"]


def test_when_as_many_wait_as_may_the_client_is_told_when_to_come_again(
    service: StagingService, client: TestClient
) -> None:
    assert [post(client).status_code for _ in range(4)] == [202, 202, 202, 429]
    refused = post(client)
    assert 1 <= int(refused.headers["retry-after"]) <= 600
    assert "3 nights wait already" in refused.json()["error"]
    service.store.claim()
    assert post(client).status_code == 202
    assert 'tslm_refused_total{status="429"} 2.0' in client.get("/metrics").text


@pytest.mark.parametrize("result", RESULTS)
def test_each_result_is_a_file_of_its_type(service: StagingService, client: TestClient, result: str) -> None:
    job_id = post(client).json()["id"]
    path = f"/v1/jobs/{job_id}/result/{result}"
    assert client.get(path).status_code == 409
    service.store.claim()
    assert client.get(path).status_code == 409
    end_with_files(service, job_id, leave_out=())
    answer = client.get(path)
    assert (answer.status_code, answer.text) == (200, HYPNOGRAM if result == "csv" else result)
    kind = guess_media_type(Path(RESULTS[result].file_name))
    assert answer.headers["content-type"].partition(";")[0] == kind
    assert client.get(f"/v1/jobs/{job_id}").json()["results"][result] == path


def test_results_cover_all_exports_of_a_night() -> None:
    assert set(EXPORTS.values()) < set(RESULTS.values())


def test_results_that_were_not_written_are_404(service: StagingService, client: TestClient) -> None:
    job_id = post(client).json()["id"]
    end_with_files(service, job_id)
    assert "explanations" not in client.get(f"/v1/jobs/{job_id}").json()["results"]
    assert client.get(f"/v1/jobs/{job_id}/result/explanations").status_code == 404
    assert client.get(f"/v1/jobs/{job_id}/result/xml").status_code == 404
    assert client.get(f"/v1/jobs/{job_id}/result/..%2F..%2Fjobs.sqlite").status_code == 404


def test_a_report_cannot_reach_the_service(service: StagingService, client: TestClient) -> None:
    job_id = post(client).json()["id"]
    end_with_files(service, job_id)
    policy = client.get(f"/v1/jobs/{job_id}/result/html").headers.get_list("content-security-policy")
    assert len(policy) == 1 and policy[0].startswith("sandbox allow-scripts") and "allow-same-origin" not in policy[0]


def test_a_failed_job_says_why(service: StagingService, client: TestClient) -> None:
    job_id = post(client).json()["id"]
    service.store.claim()
    service.store.end(job_id, "night.edf has no EEG")
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert (job["state"], job["error"]) == ("failed", "night.edf has no EEG")
    answer = client.get(f"/v1/jobs/{job_id}/result/csv")
    assert answer.status_code == 409 and "no EEG" in answer.json()["error"]


def test_a_deleted_job_is_gone_with_its_files(service: StagingService, client: TestClient) -> None:
    job_id = post(client).json()["id"]
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 404
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert list_files(service) == []


def test_epochs_of_a_finished_job_are_explained_by_a_job_of_their_own(
    service: StagingService, client: TestClient
) -> None:
    first = post(client, smoothing="median").json()
    path = f"/v1/jobs/{first['id']}/explanations"
    assert client.post(path, json={"epochs": "3,5-6"}).status_code == 409
    service.store.claim()
    end_with_files(service, first["id"])
    for outside in ("2", "5-9", "7"):
        answer = client.post(path, json={"epochs": outside})
        assert answer.status_code == 422 and "not among the staged ones, 3 to 8" in answer.json()["error"]
    answer = client.post(path, json={"epochs": "3,5-6"})
    second = answer.json()
    assert answer.status_code == 202
    assert second["options"] == first["options"] | {"explain": "3,5-6"}
    assert client.delete(f"/v1/jobs/{first['id']}").status_code == 204
    assert (service.folders.upload(second["id"]) / "night.edf").read_bytes() == NIGHT[1]
    for wrong in ({"epochs": "none"}, {"epochs": ""}, {"epochs": "x"}, {}, {"epochs": 3}, []):
        assert client.post(f"/v1/jobs/{second['id']}/explanations", json=wrong).status_code in (409, 422)
    assert client.post(path, json={"epochs": "3"}).status_code == 404


def test_jobs_are_listed_by_state(service: StagingService, client: TestClient) -> None:
    first, second = post(client).json()["id"], post(client).json()["id"]
    service.store.claim()
    assert [job["id"] for job in client.get("/v1/jobs").json()["jobs"]] == [second, first]
    assert [job["id"] for job in client.get("/v1/jobs?state=running").json()["jobs"]] == [first]
    assert len(client.get("/v1/jobs?limit=1").json()["jobs"]) == 1
    assert client.get("/v1/jobs?limit=0").status_code == 422


def test_a_service_without_workers_is_there_but_not_ready(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").status_code == 503
    version = client.get("/version").json()
    assert version["models"] == ["human"] and version["formats"] == list(RECORDINGS)


def test_figures_for_prometheus_are_its_text(client: TestClient) -> None:
    post(client)
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'tslm_jobs{state="waiting"} 1.0' in answer.text
    assert "tslm_uploaded_bytes_total 1000.0" in answer.text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "Basic ???"}, 401),
        ({"authorization": "Basic " + base64.b64encode(b"secret").decode()}, 401),
        ({"authorization": "Basic " + base64.b64encode(b"anyone:secret").decode()}, 200),
        ({"authorization": "Bearer secret"}, 200),
        ({"authorization": "bearer  secret"}, 200),
    ],
)
def test_a_token_is_needed_for_all_but_what_watches(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    client = TestClient(build_service_app(build_service(tmp_path, token="secret")), base_url=ADDRESS)
    for path in ("/", "/v1/jobs", "/version", "/metrics", "/openapi.json"):
        assert client.get(path, headers=headers).status_code == status, path
    assert client.get("/health", headers=headers).status_code == 200
    posted = client.post("/v1/jobs", files={"file": NIGHT}, headers=headers)
    assert posted.status_code == (202 if status == 200 else 401)
    if status == 401:
        assert posted.headers["www-authenticate"].startswith("Basic")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example"}, 421),
        ({"origin": ADDRESS, "sec-fetch-site": "same-origin"}, 202),
    ],
)
def test_pages_of_other_sites_cannot_upload(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.post("/v1/jobs", files={"file": NIGHT}, headers=headers).status_code == status


def test_an_upload_is_a_form(client: TestClient) -> None:
    for kind in ("application/json", "application/octet-stream", ""):
        assert client.post("/v1/jobs", content=b"{}", headers={"content-type": kind}).status_code == 415


def test_openapi_documents_every_route_with_its_errors(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "Not a medical device" in document["info"]["description"]
    assert set(document["paths"]) == {
        "/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/result/{result}", "/v1/jobs/{job_id}/explanations",
        "/health", "/ready", "/version", "/metrics",
    }  # fmt: skip
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"] and {"401", "408", "421", "503"} <= operation["responses"].keys(), path
    assert {"400", "413", "415", "422", "429"} <= document["paths"]["/v1/jobs"]["post"]["responses"].keys()
    assert '"examples"' in json.dumps(document)


def test_the_page_runs_its_own_script_alone(client: TestClient) -> None:
    answer = client.get("/")
    assert "http://" not in answer.text and "https://" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
