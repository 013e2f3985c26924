"""The house holds: imports go down the layers, heavy dependencies have one door, folders stay small."""

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APPS = ("curriculum", "data_prep", "evaluation")
LAYERS = {
    0: ("labels", "hypnogram", "answers", "prompts", "files", "command", "table", "metric_names"),
    1: ("config", "batch", "seeds", "progress_bar", "fetch", "pretrained", "file_lock", "parallel", "sqlite_file"),
    2: ("nn", "signals", "evidence"),
    3: ("data", "models"),
    4: ("training", "predictions"),
    5: ("scoring", "explain", "baselines"),
    6: ("report",),
    7: ("export", "staging", "hub", "cli", "serve", "review", "__main__"),
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}
SINGLE_DOOR = (
    "pyedflib",
    "peft",
    "mlflow",
    "onnx",
    "onnxruntime",
    "pylsl",
    "fastapi",
    "plotly",
    "matplotlib",
    "mne",
    "yasa",
    "h5py",
    "datasets",
    "evaluate",
    "multipart",
    "prometheus_client",
)
MAX_NAMES = 12
# Folders that mirror the whole library, and pages that are numbered rather than looked up by name.
MAY_BE_LARGE = {"src/tslm", "tests/tslm", "docs/decisions", "docs/experiments"}
SOURCES = sorted(
    path
    for folder in ("src/tslm", *APPS)
    for path in (ROOT / folder).rglob("*.py")
    if (ROOT / folder).is_dir() and path.name != "__init__.py"
)


@cache
def read_imports(path: Path) -> set[str]:
    """Dotted names that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache
def read_folders() -> dict[str, list[str]]:
    """Names in each folder of the repository, package markers left out."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    folders: dict[str, set[str]] = {}
    for line in listed.stdout.splitlines():
        path = Path(line)
        if path.name == "__init__.py" or not (ROOT / path).exists():
            continue
        for part in [path, *path.parents[:-1]]:
            folders.setdefault(part.parent.as_posix(), set()).add(part.name)
    return {folder: sorted(names) for folder, names in folders.items() if folder != "."}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def layer_of(path: Path) -> int:
    if path.relative_to(ROOT).parts[0] in APPS:
        return max(LAYERS)
    part = path.relative_to(ROOT / "src" / "tslm").parts[0].removesuffix(".py")
    assert part in LAYER_OF, f"{part} stands in no layer: add it to this test"
    return LAYER_OF[part]


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_go_down_the_layers(path: Path) -> None:
    for name in read_imports(path):
        parts = name.split(".")
        if parts[0] == "tslm" and len(parts) > 1 and parts[1] in LAYER_OF:
            assert LAYER_OF[parts[1]] <= layer_of(path), f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_applications_never_import_one_another(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    imported = {name.split(".")[0] for name in read_imports(path)}
    assert not imported & (set(APPS) - {own})


@pytest.mark.parametrize("dependency", SINGLE_DOOR)
def test_a_heavy_dependency_is_imported_by_one_module_only(dependency: str) -> None:
    users = [name_of(path) for path in SOURCES if dependency in {name.split(".")[0] for name in read_imports(path)}]
    assert len(users) <= 1, f"{dependency} is imported by {users}"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name != "__init__.py" and layer_of(path) == 0])
def test_the_vocabulary_needs_numpy_at_most(path: Path) -> None:
    outside = {name.split(".")[0] for name in read_imports(path)} - set(sys.stdlib_module_names) - {"tslm", "numpy"}
    assert not outside


def test_no_folder_shows_more_than_twelve_names() -> None:
    large = {name: len(names) for name, names in read_folders().items() if len(names) > MAX_NAMES}
    assert not {name: count for name, count in large.items() if name not in MAY_BE_LARGE}


def test_a_prefix_that_occurs_three_times_is_a_folder() -> None:
    families = {}
    for folder, names in read_folders().items():
        counts = Counter(name.removesuffix(".py").split("_")[0] for name in names if not name.startswith("test_"))
        found = {prefix: count for prefix, count in counts.items() if count >= 3}
        if found and folder not in MAY_BE_LARGE:
            families[folder] = found
    assert not families
