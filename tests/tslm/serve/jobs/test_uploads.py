from pathlib import Path

import pytest

pytest.importorskip("multipart", reason="needs the extra serve")

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.factories.servers.uploads import receive_body
from tslm.serve.jobs.uploads import COMPANIONS, RECORDINGS, TooLongError, UnknownFormatError, clean_name

TYPE = "multipart/form-data; boundary=b"


def part(content: bytes, name: str = "n.edf", field: str = "file") -> bytes:
    head = f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return head.encode() + content + b"\r\n"


def receive(body: bytes, folder: Path, max_bytes: int = 10**6, step: int = 10, content_type: str = TYPE) -> str:
    return receive_body(body, content_type, folder / "upload", max_bytes, step)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("night.edf", "night.edf"),
        ("../../etc/cron.d/night.edf", "night.edf"),
        ("C:\\Users\\me\\Nacht 1.EDF", "Nacht 1.EDF"),
        ("/abs/night.rec", "night.rec"),
        ("..edf.bdf", "edf.bdf"),
        ("a\0b\n<c>$(d).edf", "a_b__c__(d).edf"),
        ("sub-01_task-sleep_eeg.edf", "sub-01_task-sleep_eeg.edf"),
        ("Schläfer é.edf", "Schläfer é.edf"),
        ("x" * 300 + ".edf", "x" * 96 + ".edf"),
        ("ä" * 300 + ".edf", "ä" * 48 + ".edf"),
        ("n.vhdr", "n.vhdr"),
    ],
)
def test_names_are_made_safe(sent: str, kept: str) -> None:
    assert clean_name(sent) == kept


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".edf",
        "..",
        "night",
        "night.zip",
        "night.tar.gz",
        "night.fif.gz",
        "n.edf.exe",
        "n.mff",
        "/",
        "a.edf/",
        ". .edf",
    ],
)
def test_what_is_called_as_no_recording_is_refused(name: str) -> None:
    with pytest.raises(UnknownFormatError, match="wanted one that ends in"):
        clean_name(name)


@settings(max_examples=50)
@given(st.text(max_size=40), st.sampled_from([*RECORDINGS, *COMPANIONS]))
def test_a_clean_name_stays_in_its_folder_and_is_clean(stem: str, suffix: str) -> None:
    try:
        name = clean_name(f"{stem}{suffix}")
    except UnknownFormatError:
        return
    assert Path(name).name == name and name not in (".", "..") and name.isprintable()
    assert clean_name(name) == name and len(name.encode()) <= 100


@pytest.mark.parametrize("step", [1, 7, 10**6])
def test_files_are_written_as_they_were_sent(tmp_path: Path, step: int) -> None:
    content = bytes(range(256)) + b"\r\n--\r\n-" * 3
    name = receive(part(b"head", "n.vhdr") + part(content, "n.eeg") + b"--b--\r\n", tmp_path, step=step)
    assert name == "n.vhdr"
    assert (tmp_path / "upload" / "n.eeg").read_bytes() == content
    assert (tmp_path / "upload" / "n.vhdr").read_bytes() == b"head"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "multipart"),
        (b"nothing of the kind", "multipart"),
        (b"--b--\r\n", "0 recordings"),
        (part(b""), "is empty"),
        (part(b"x", "n.eeg") + b"--b--\r\n", "0 recordings"),
        (part(b"x") + part(b"y", "m.edf") + b"--b--\r\n", "2 recordings"),
        (part(b"x") + part(b"y") + b"--b--\r\n", "two files"),
        (part(b"x", field="data") + b"--b--\r\n", "wanted files called 'file'"),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n', "wanted files"),
        (part(b"x" * 50), "multipart"),
        (b"--b\r\n\r\nx\r\n--b--\r\n", "multipart"),
        (b"--b\r\n" + b"a: b\r\n" * 99 + b"\r\nx\r\n--b--\r\n", "multipart"),
        (b'--b\r\nContent-Disposition: form-data; name="file"; filename="\xff.edf"\r\n\r\nx\r\n--b--\r\n', "multipart"),
    ],
)
def test_a_damaged_form_is_one_line(tmp_path: Path, body: bytes, said: str) -> None:
    body = body + b"--b--\r\n" if said == "is empty" else body
    with pytest.raises(ValueError, match=said) as caught:
        receive(body, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_form_without_boundary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="multipart"):
        receive(part(b"x"), tmp_path, content_type="multipart/form-data")


def test_what_is_too_long_is_refused_while_it_comes(tmp_path: Path) -> None:
    with pytest.raises(TooLongError):
        receive(part(b"x" * 50_000), tmp_path, max_bytes=1000, step=1000)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.edf")) < 20_000
