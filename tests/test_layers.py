"""Imports go down the layers only, and each heavy dependency has one door."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APPS = ("curriculum", "data_prep", "evaluation")
LAYERS = {
    0: ("labels", "hypnogram", "answers", "answer_lines", "prompts", "files", "command", "bench_row"),
    1: ("config", "config_files", "checkpoint_config", "compose", "batch", "seeds"),
    2: ("nn", "signals"),
    3: ("data", "models"),
    4: ("training", "scoring"),
    5: ("report",),
    6: ("hub", "cli", "serve", "review", "__main__"),
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}
SINGLE_DOOR = (
    "pyedflib",
    "peft",
    "mlflow",
    "onnx",
    "onnxruntime",
    "fastapi",
    "matplotlib",
    "plotly",
    "mne",
    "yasa",
    "h5py",
    "datasets",
    "evaluate",
)
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


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def layer_of(path: Path) -> int:
    if path.relative_to(ROOT).parts[0] in APPS:
        return 6
    part = path.relative_to(ROOT / "src" / "tslm").parts[0].removesuffix(".py")
    assert part in LAYER_OF, f"{part} stands in no layer: add it to DESIGN's list and to this test"
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
