"""pyproject.toml, constraints.txt, environment.yml, the Makefile and the workflow agree on packages and Pythons."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = sorted({*PROJECT["dependencies"], *(name for extra in EXTRAS.values() for name in extra)})
PINS = {
    canonicalize_name(name): version
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
    for name, version in [line.split("==")]
}


def read_conda() -> tuple[str, list[str]]:
    """Python and the lines for pip of environment.yml."""
    packages = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (python,) = (name for name in packages if isinstance(name, str) and name.startswith("python="))
    (pip,) = (entry["pip"] for entry in packages if isinstance(entry, dict))
    return python.removeprefix("python="), pip


def list_workflow_pythons() -> list[str]:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    return workflow["jobs"]["check-and-test"]["strategy"]["matrix"]["python"]


@pytest.mark.parametrize("text", REQUIREMENTS)
def test_every_dependency_has_a_tested_version_that_it_allows(text: str) -> None:
    wanted = Requirement(text)
    assert PINS[canonicalize_name(wanted.name)] in wanted.specifier


def test_no_package_is_pinned_twice() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == len(PINS)


def test_conda_installs_what_make_installs_under_the_same_constraints() -> None:
    python, pip = read_conda()
    made = re.search(r"pip install .* -c (\S+) -e '(\S+)'", (ROOT / "Makefile").read_text())
    assert made is not None
    assert pip == [f"--constraint {made[1]}", f"--editable {made[2]}"]
    assert python in list_workflow_pythons()


def test_the_workflow_tests_every_python_that_is_promised() -> None:
    named = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if "Python :: 3." in name]
    assert list_workflow_pythons() == named
    assert all(f"{python}.0" in SpecifierSet(PROJECT["requires-python"]) for python in named)


def test_each_extra_for_tests_is_in_dev() -> None:
    heavy = {"dvc", "ray", "wfdb", "yasa"}  # fetched by a command of their own
    names = {Requirement(text).name for name, extra in EXTRAS.items() if name != "dev" for text in extra} - heavy
    assert names <= {Requirement(text).name for text in EXTRAS["dev"]}
