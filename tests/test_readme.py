"""What README and docs name exists: folders, files, functions, commands, options and settings."""

import ast
import re
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
APPLICATIONS = ("curriculum", "data_prep", "evaluation")
SOURCES = (*APPLICATIONS, "src/tslm")
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Pages that tell how things are today. Experiments and decisions name what they were done with.
CURRENT = [page for page in PAGES if not {"experiments", "decisions"} & set(page.relative_to(ROOT).parts)]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def read_commands(page: Path) -> list[str]:
    """Lines of the code blocks that name no language, joined where they go on, without comments."""
    blocks = re.findall(r"^```\n(.*?)^```", read(page), re.DOTALL | re.MULTILINE)
    return [line.split(" #")[0] for block in blocks for line in block.replace("\\\n", " ").splitlines()]


@cache
def read_sources() -> str:
    return "\n".join(read(path) for source in SOURCES for path in sorted((ROOT / source).rglob("*.py")))


def test_the_readme_is_short() -> None:
    assert len(read(README).splitlines()) <= 200


def test_the_map_names_every_folder_at_the_top_of_the_library_and_the_applications() -> None:
    block = re.search(r"## Map\n```\n(.*?)```", read(README), re.DOTALL)
    assert block is not None
    named = {line.split()[0] for line in block.group(1).splitlines()}
    folders = {
        f"{source}/{path.name}/"
        for source in SOURCES
        for path in (ROOT / source).iterdir()
        if path.is_dir() and any(path.rglob("*.py"))
    }
    assert folders <= named
    assert all((ROOT / folder).is_dir() for folder in named)


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_file_has_a_docstring(source: str) -> None:
    for path in (ROOT / source).rglob("*.py"):
        if path.name != "__init__.py":
            assert ast.get_docstring(ast.parse(read(path))), path


@pytest.mark.parametrize("source", SOURCES)
def test_every_package_has_a_map_of_files_that_exist(source: str) -> None:
    for path in (ROOT / source).rglob("__init__.py"):
        docstring = ast.get_docstring(ast.parse(read(path)))
        assert docstring, path
        for name in re.findall(r"`(\w+\.py)`", docstring):
            assert (path.parent / name).is_file(), f"{name} in {path}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    generated = {ROOT / "docs" / "reference" / name for name in ("settings.md", "commands.md")}
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)):
        target = (page.parent / link).resolve()
        assert target.exists() or target in generated or link.startswith("http"), link


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_modules_commands_targets_and_options_exist(page: Path) -> None:
    text = "\n".join([*read_commands(page), *re.findall(r"`([^`\n]+)`", read(page))])
    for module in re.findall(r"(?:python -m|-m) ((?:curriculum|data_prep|evaluation)[\w.]*)", text):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module
    for script in re.findall(r"\b((?:curriculum|data_prep|evaluation)/\w+\.py)\b", text):
        assert (ROOT / script).exists(), script
    for command in re.findall(r"^(?:\.venv/bin/)?tslm ([a-z][a-z-]+)", text, re.MULTILINE):
        assert f'"{command}"' in read_sources(), f"tslm {command}"
    for target in re.findall(r"^make ([a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", read(ROOT / "Makefile"), re.MULTILINE), f"make {target}"
    ours = [line for line in read_commands(page) if re.match(r"(accelerate launch|python -m|tslm|\S+/tslm)\b", line)]
    known = {"--config_file", "--num_processes", "--num_cpu_threads_per_process", "--machine_rank", "--main_process_ip"}
    for option in {option for line in ours for option in re.findall(r"(?<=\s)(--[a-z_]+)", line)} - known:
        assert f'"{option}"' in read_sources(), option


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_settings_exist(page: Path) -> None:
    from tslm.config.files import valid_keys

    keys = valid_keys()
    groups = {key.split(".")[0] for key in keys if "." in key}
    for key in re.findall(r"(?<![\w./-])([a-z_]+(?:\.[a-z_]+)+)(?:=[^=]|`)", read(page)):
        if key.split(".")[0] in groups and not key.endswith((".py", ".md", ".yaml", ".json", ".log")):
            assert key in keys or any(name.startswith(f"{key}.") for name in keys), key


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_presets_models_and_language_models_exist(page: Path) -> None:
    text = "\n".join(read_commands(page))
    for option, folder in {"config": "preset", "model": "model", "llm": "llm", "stages": "stage"}.items():
        for names in re.findall(rf"train(?:\.py)?\b[^\n]*--{option} ((?:[a-z][\w.-]*(?: |$))+)", text, re.MULTILINE):
            for name in names.split():
                assert (ROOT / "configs" / folder / name).with_name(f"{name}.yaml").exists() or "." in name, name


def test_the_page_of_settings_names_every_setting() -> None:
    pytest.importorskip("mkdocs")
    from tslm.config.files import valid_keys

    spec = spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    hooks = module_from_spec(spec)
    spec.loader.exec_module(hooks)
    page = hooks.settings_page()
    assert not [key for key in valid_keys() if f"| `{key}` |" not in page]


@pytest.mark.parametrize(
    ("page", "num_rows"), [("where_is_what.md", 40), ("decisions/043-helpers-of-the-specification.md", 25)]
)
def test_every_place_that_a_page_points_to_is_there(page: str, num_rows: int) -> None:
    rows = re.findall(r"^\| [^|]+ \| `([^`|]+)` \| (?:`(\w+)`)? ?\|$", read(ROOT / "docs" / page), re.MULTILINE)
    assert len(rows) > num_rows
    for path, name in rows:
        assert (ROOT / path).exists(), path
        assert not name or re.search(rf"\b{name}\b", read(ROOT / path)), f"{name} in {path}"


def test_the_guides_show_the_code_of_the_readme() -> None:
    blocks = re.findall(r"```python\n(.*?)```", read(README), re.DOTALL)
    guides = [read(ROOT / "docs" / "guides" / f"{name}.md") for name in ("stage", "transformers")]
    assert len(blocks) == len(guides)
    assert all(code in guide for code, guide in zip(blocks, guides, strict=True))


def test_citation_names_version_and_licence_of_the_package() -> None:
    citation = yaml.safe_load(read(ROOT / "CITATION.cff"))
    project = read(ROOT / "pyproject.toml")
    assert citation["cff-version"] == "1.2.0"
    assert f'version = "{citation["version"]}"' in project
    assert f'license = "{citation["license"]}"' in project


@pytest.mark.parametrize("folder", ["decisions", "experiments"])
def test_an_index_lists_every_page(folder: str) -> None:
    index = read(ROOT / "docs" / folder / "index.md")
    for page in (ROOT / "docs" / folder).glob("*.md"):
        assert page.name == "index.md" or f"]({page.name}" in index, page.name


def test_decisions_are_numbered_without_gaps() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [page.name[:3] for page in pages] == [f"{number:03d}" for number in range(1, len(pages) + 1)]
    for page in pages:
        assert read(page).startswith(f"# {page.name[:3]}: ")


def test_decisions_that_the_code_refers_to_exist() -> None:
    missing = [
        f"{path.relative_to(ROOT)}: {name}"
        for source in SOURCES
        for path in (ROOT / source).rglob("*.py")
        for name in re.findall(r"decisions/(\d{3}-[\w-]+)", path.read_text(encoding="utf-8"))
        if not (ROOT / "docs" / "decisions" / f"{name}.md").is_file()
    ]
    assert not missing
