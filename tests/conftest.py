import gc
import resource
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.factories.browser import open_chromium
from tests.factories.servers.local_server import FileServer

# A machine that is busy with something else is slow, not wrong.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=2, help="how many runs tests/curriculum/test_kills.py kills")
    parser.addoption("--draws", type=int, default=60, help="how many random layouts test_random_layouts.py reads")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that ask for a browser."""
    for item in items:
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the garbage collector from walking a million objects of loaded modules, in collection and in each run."""
    gc.disable()
    done = yield
    gc.collect()
    gc.freeze()
    gc.enable()
    return done


@pytest.fixture(autouse=True)
def _own_accelerator() -> Iterator[None]:
    """accelerate keeps precision and processes for the whole interpreter; a test must not inherit another's."""
    yield
    if "accelerate.state" in sys.modules:
        sys.modules["accelerate.state"].AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A web server of files."""
    running = FileServer()
    yield running
    running.close()


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A value for TSLM_CACHE_DIR whose only language model is the tiny one."""
    from tslm.models.llm.folders import build_tiny_llm  # torch loads where a test needs it

    cache = tmp_path_factory.mktemp("cache")
    build_tiny_llm(cache / "llm" / "tiny")
    return cache


@pytest.fixture(scope="session")
def tiny_llm(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny language model with larger weights, so that every input moves its logits."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("llm") / "tiny"
    model = AutoModelForCausalLM.from_pretrained(tiny_cache / "llm" / "tiny")
    generator = torch.Generator().manual_seed(0)
    for param in model.parameters():
        if param.ndim > 1:
            torch.nn.init.normal_(param, std=0.3, generator=generator)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_cache / "llm" / "tiny").save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def chromium():
    """A headless browser; the test is skipped where there is none."""
    with open_chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def staging_models(tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path) -> Path:
    """A folder of results with a classifier and a language model of sleep."""
    from tests.factories.staging import save_staging_models

    return save_staging_models(tmp_path_factory.mktemp("results"), tiny_llm)


@pytest.fixture(scope="session")
def unlabelled_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An EDF file without labels, of other channel names than the training's."""
    from tests.factories.staging import write_unlabelled_night

    return write_unlabelled_night(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="session")
def packaged_models(tmp_path_factory: pytest.TempPathFactory, staging_models: Path, tiny_llm: Path) -> Path:
    """A folder as src/tslm/pretrained, with a scorer `human` and an explainer `explain-tiny`."""
    from tests.factories.staging import package_models, pin_tiny_base

    with pytest.MonkeyPatch.context() as monkeypatch:
        pin_tiny_base(monkeypatch, tiny_llm, tmp_path_factory.mktemp("cache"))
        return package_models(staging_models, tmp_path_factory.mktemp("pretrained"))


@pytest.fixture
def package(
    monkeypatch: pytest.MonkeyPatch, packaged_models: Path, tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The installed package with the models of `packaged_models` in it, their base model in the cache."""
    from tests.factories.staging import pin_tiny_base

    pin_tiny_base(monkeypatch, tiny_llm, tmp_path_factory.mktemp("cache"))
    monkeypatch.setattr("tslm.pretrained.table.FOLDER", packaged_models)
    return packaged_models


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """A block in which no file grows beyond so many bytes: libraries in C see that as they see a full disk."""

    @contextmanager
    def limit(num_bytes: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit
