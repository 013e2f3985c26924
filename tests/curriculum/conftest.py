from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories.tiny_run import write_tiny_data


@pytest.fixture(scope="module")
def data_dir(tiny_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Small prepared data of every stage and a preset for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSLM_CACHE_DIR", str(tiny_cache))
        yield write_tiny_data(tmp_path_factory.mktemp("train"))
