"""Generated pages of the site: every setting, every command, the API.

MkDocs calls `on_config` and `on_files`. Settings come from the dataclasses of `tslm.config.schema`, commands from their
own `--help`, the API from the packages below src/tslm. So these pages cannot fall behind the code.
"""

import ast
import dataclasses
import importlib
import io
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
SCHEMA = "tslm.config.schema"
APPLICATIONS = ("curriculum", "data_prep", "evaluation")
API = "reference/api"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append the API to the section Reference, and what their indices list to Decisions and Experiments."""
    sections = {name: pages for item in config.nav or [] for name, pages in item.items()}
    sections["Reference"].append({"API": [{name: f"{API}/{name}.md"} for name in api_pages()]})
    for name in ("Decisions", "Experiments"):
        index = Path(config.docs_dir) / name.lower() / "index.md"
        pages = dict.fromkeys(re.findall(r"\]\(([\w-]+\.md)", index.read_text(encoding="utf-8")))
        sections[name].extend(f"{name.lower()}/{page}" for page in pages)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {f"{API}/{name}.md": text for name, text in api_pages().items()}
    pages |= {"reference/settings.md": settings_page(), "reference/commands.md": commands_page()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def api_pages() -> dict[str, str]:
    """The page of each package, which lists its modules; modules beside the packages share the page `tslm`."""
    library = ROOT / "src" / "tslm"
    modules = sorted(library.glob("*.py"))
    packages = [path for path in sorted(library.iterdir()) if (path / "__init__.py").exists()]
    pages = {"tslm": render_api("tslm", modules)}
    for package in packages:
        name = f"tslm.{package.name}"
        pages[name] = render_api(name, package.rglob("*.py"))
    return pages


def render_api(title: str, paths: Iterable[Path]) -> str:
    """Directives of mkdocstrings, one a module that says what it is for."""
    lines = [f"# {title}"]
    for path in sorted(paths):
        if path.name != "__main__.py" and ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))):
            parts = path.relative_to(ROOT / "src").with_suffix("").parts
            lines.append(f"::: {'.'.join(part for part in parts if part != '__init__')}")
    return "\n\n".join(lines) + "\n"


def settings_page() -> str:
    """A table for each group of settings: key, type, default, meaning."""
    schema = importlib.import_module(SCHEMA)
    lines = [
        "# Settings",
        "Every setting is `key=value` on the command line of `curriculum/train.py` and a key of the YAML files in"
        " `configs/`. Defaults are those of the dataclasses in `src/tslm/config/schema.py`; presets differ from them.",
    ]
    meanings = read_meanings(Path(schema.__file__ or "").read_text(encoding="utf-8"))
    for prefix, group in walk_groups(schema.RunConfig, ""):
        lines += [f"## {prefix.rstrip('.') or 'The run'}", (group.__doc__ or "").split("\n\n")[0]]
        rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
        for field in dataclasses.fields(group):
            if not is_group(field.type):
                cells = (f"`{prefix}{field.name}`", type_name(field.type), f"`{default_of(field)!r}`")
                rows.append(f"| {' | '.join(cells)} | {meanings.get((group.__name__, field.name), '')} |")
        lines.append("\n".join(rows))
    return "\n\n".join(lines) + "\n"


def walk_groups(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The dataclass itself, then those that its fields hold, with the prefix of their keys."""
    yield prefix, group
    for field in dataclasses.fields(group):
        if is_group(field.type):
            yield from walk_groups(field.type, f"{prefix}{field.name}.")


def is_group(kind: Any) -> bool:
    """Whether a field holds settings of its own."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def type_name(kind: Any) -> str:
    """A type as a reader writes it."""
    return f"`{kind.__name__ if isinstance(kind, type) and not hasattr(kind, '__args__') else kind}`"


def default_of(field: dataclasses.Field) -> Any:
    """The default of a field, made by its factory where it has one."""
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def read_meanings(source: str) -> dict[tuple[str, str], str]:
    """Meaning of each field: the comment behind it, or the string below it."""
    lines = source.splitlines()
    meanings = {}
    for group in [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]:
        for node, after in zip(group.body, [*group.body[1:], None], strict=True):
            if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
                continue
            below = after.value if isinstance(after, ast.Expr) else None
            text = below.value if isinstance(below, ast.Constant) else comment_of(node, lines)
            meanings[group.name, node.target.id] = " ".join(str(text).split()).replace("|", "\\|")
    return meanings


def comment_of(node: ast.AnnAssign, lines: list[str]) -> str:
    """The comment within or behind a statement, which has no other `#`."""
    found = [line.partition("#")[2].strip() for line in lines[node.lineno - 1 : node.end_lineno] if "#" in line]
    return " ".join(found)


def commands_page() -> str:
    """The help of each command."""
    sections = help_of_all("tslm", "tslm.cli")
    for path in [path for folder in APPLICATIONS for path in sorted((ROOT / folder).rglob("*.py"))]:
        source = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' in source and "def main(argv" in source:
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            sections |= help_of_all(f"python -m {module}", module)
    parts = ["# Commands", "What each command prints for `--help`."]
    for name, text in sections.items():
        parts += [f"## {name}", f"```text\n{text.rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def help_of_all(command: str, module: str) -> dict[str, str]:
    """The help of a command and of its sub-commands, by what one types."""
    text = help_of(module, [])
    names = re.findall(r"^    ([a-z][a-z_-]+)\b", text.partition("\ncommands:")[2], re.MULTILINE)
    return {command: text} | {f"{command} {name}": help_of(module, [name]) for name in names}


def help_of(module: str, command: list[str]) -> str:
    """What `--help` prints, at a width that fits the page."""
    os.environ["COLUMNS"] = "110"
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        importlib.import_module(module).main([*command, "--help"])
    return printed.getvalue()
