import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("curriculum", "data_prep", "evaluation", "src/tslm")


def _tree() -> dict[str, str]:
    """Path -> line of the README's file tree, for Python files."""
    block = re.search(r"## Files\n```\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    folder, tree = "", {}
    for line in block.group(1).splitlines():
        if not line.startswith(" "):
            folder = line.split()[0]
        else:
            name, text = line.split(maxsplit=1)
            tree[f"{folder}{name}"] = text
    return tree


def test_the_readme_lists_every_source_file_with_its_own_first_line():
    expected = {}
    for source in SOURCES:
        for path in (ROOT / source).rglob("*.py"):
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
            if path.name != "__init__.py" or path.parent.name == "models":
                assert docstring, f"{path} has no docstring"
                expected[path.relative_to(ROOT).as_posix()] = docstring.splitlines()[0].rstrip(".")
    assert _tree() == expected


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
