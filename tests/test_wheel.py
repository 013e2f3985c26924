"""The wheel: what it holds, and that it works where only `pip install` has been."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "src" / "tslm").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAX_BYTES = 20_000_000
OF_CHECKOUT = re.compile(
    r"\b(?:data_prep|evaluation|curriculum)(?:[./]\w|\b.*\bpython -m)|make demo|accelerate launch|docs/"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    hatch = pytest.importorskip(
        "hatchling.builders.wheel", reason="hatchling is not installed: pip install -e '.[dev]'"
    )
    return Path(
        next(hatch.WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"]))
    )


@pytest.fixture(scope="module")
def site(wheel: Path, packaged_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, with the scorer of `packaged_models` as the one of the package."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    inside = folder / "tslm" / "pretrained"
    for path in [path for path in packaged_models.rglob("*") if path.is_file()]:
        target = inside / path.relative_to(packaged_models)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return folder


def run_installed(site: Path, cwd: Path, *command: object) -> subprocess.CompletedProcess[str]:
    """Run Python with the unpacked wheel and the dependencies, without a checkout and without a network.

    `-S` reads no .pth file, so an editable installation is not seen.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TSLM_", "PIP_"))}
    nowhere = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    environment |= nowhere | {"PYTHONPATH": os.pathsep.join([str(site), sysconfig.get_paths()["purelib"]])}
    environment |= {"HOME": str(cwd), "HF_HUB_OFFLINE": "1"}
    words = [sys.executable, "-S", *map(str, command)]
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_the_wheel_holds_the_library_alone_with_its_configs_and_models_and_is_small(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0] for name in names} == {"tslm", f"tslm_sleep-{PROJECT['version']}.dist-info"}
    listed = subprocess.run(
        ["git", "ls-files", "src/tslm", "configs"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    wanted = {path.removeprefix("src/") if path.startswith("src/") else f"tslm/{path}" for path in listed}
    assert wanted <= names
    assert "tslm/pretrained/table.yaml" in names
    assert wheel.stat().st_size <= MAX_BYTES


def test_a_night_is_scored_after_nothing_but_the_installation(
    site: Path, unlabelled_night: Path, tmp_path: Path
) -> None:
    script = """
import importlib.util, pathlib, sys, tslm
from tslm.cli import main
from tslm.data.prepared.recordings import read_participants
assert not any(map(importlib.util.find_spec, ("curriculum", "data_prep", "evaluation")))
assert main(["score", sys.argv[1]]) == 0
night = tslm.score_night(sys.argv[1])  # as the guide shows
assert len(night.probabilities) == night.hypnogram.num_epochs
try:
    read_participants(pathlib.Path("prepared"))
except FileNotFoundError as error:
    print(error)
"""
    found = run_installed(site, tmp_path, "-c", script, unlabelled_night)
    assert (found.returncode, found.stderr) == (0, "")
    assert "by classifier human (tslm-sleep" in found.stdout
    assert (tmp_path / "P01_hypnogram.csv").is_file()
    assert found.stdout.splitlines()[-1].endswith("is missing; make it in a checkout of tslm-sleep")


def read_messages(path: Path) -> list[str]:
    """The texts of a file that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, owners) and has_docstring(node)}
    advised = {
        id(text)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "advise"
        for text in ast.walk(node)
    }
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [str(node.value) for node in texts if id(node) not in docstrings | advised]


def has_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> bool:
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)


def test_no_message_names_what_only_a_checkout_has() -> None:
    found = {path.name: text for path in LIBRARY for text in read_messages(path) if OF_CHECKOUT.search(text)}
    assert not found


@cache
def name_dependencies(*groups: str) -> set[str]:
    """Normalised names of the distributions that an installation with these extras brings."""
    lines = PROJECT["dependencies"] + [line for group in groups for line in PROJECT["optional-dependencies"][group]]
    return {normalise(re.split(r"[\s<>=!~;\[]", line)[0]) for line in lines}


def normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_the_library_imports_is_a_dependency_or_an_extra() -> None:
    distributions = packages_distributions()
    of_users = [group for group in PROJECT["optional-dependencies"] if group not in ("dev", "docs")]
    declared = name_dependencies(*of_users) | {"starlette"}  # fastapi is made of it
    missing = {}
    for path in LIBRARY:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {module.split(".")[0] for module in modules} - set(sys.stdlib_module_names) - {"tslm"}:
                if not declared & {normalise(each) for each in distributions.get(name, [name])}:
                    missing[name] = str(path)
    assert not missing


def test_extras_that_docs_and_messages_name_exist() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *LIBRARY]
    for page in pages:
        for extras in re.findall(
            r"(?:tslm-sleep|install '?(?:-e )?'?\.)\[([\w,]+)\]", page.read_text(encoding="utf-8")
        ):
            assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"]), page
