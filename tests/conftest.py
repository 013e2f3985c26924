from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A value for TSLM_CACHE_DIR whose only language model is the tiny one."""
    from tslm.models.llm_store import build_tiny_llm  # torch loads where a test needs it

    cache = tmp_path_factory.mktemp("cache")
    build_tiny_llm(cache / "llm" / "tiny")
    return cache


@pytest.fixture(scope="session")
def tiny_llm(tiny_cache: Path) -> Path:
    """Folder of the tiny language model."""
    return tiny_cache / "llm" / "tiny"
