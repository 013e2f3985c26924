import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("curriculum", "data_prep", "evaluation", "src/tslm")


def _folder_map() -> list[str]:
    """Folders that the README's map names."""
    block = re.search(r"## Map\n```\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    return [line.split()[0] for line in block.group(1).splitlines()]


def test_the_map_names_every_folder_at_the_top_of_the_library_and_the_applications():
    folders = {
        f"{source}/{path.name}/"
        for source in SOURCES
        for path in (ROOT / source).iterdir()
        if path.is_dir() and path.name != "__pycache__"
    }
    named = set(_folder_map())
    assert folders <= named
    assert all((ROOT / folder).is_dir() for folder in named)


def test_every_source_file_has_a_docstring():
    for source in SOURCES:
        for path in (ROOT / source).rglob("*.py"):
            if path.name != "__init__.py":
                assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_links_of_the_readme_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize("option", ["train.batch_size", "optim.lr_lora", "stage.train_dir", "stage.predecessor"])
def test_settings_named_in_the_readme_exist(option):
    from tslm.config.files import valid_keys

    assert option in (ROOT / "README.md").read_text(encoding="utf-8")
    assert option in valid_keys()
