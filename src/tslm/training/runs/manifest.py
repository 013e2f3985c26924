"""run.json, the manifest of a run: launches with command, code, packages and machine, and checksums of the data.

Every launch is kept, so the manifest shows if a run was resumed with other packages.
"""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tslm.files import write_beside
from tslm.training.runs.folder import MANIFEST_FILE

PACKAGES = (
    "tslm-sleep",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "safetensors",
    "numpy",
    "scipy",
    "pyarrow",
    "scikit-learn",
)


@dataclass(frozen=True)
class Launch:
    """One start of a run, or one resumption."""

    started_at: str  # UTC, ISO 8601
    command: tuple[str, ...]
    num_processes: int
    git_commit: str | None  # None where the package is not a checkout
    git_dirty: bool | None  # whether files differed from that commit
    python: str
    os: str
    cpu: str
    num_cpus: int
    gpus: tuple[str, ...]
    packages: Mapping[str, str]  # version by name

    def __post_init__(self) -> None:
        for name in ("command", "gpus"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True)
class RunManifest:
    """Content of run.json."""

    seed: int
    launches: tuple[Launch, ...]  # oldest first, at least one
    data_sha256: Mapping[str, str]  # by file, see tslm.data.splits.provenance
    ended_at: str | None = None  # None while it runs, or if it was killed
    tracker_runs: Mapping[str, str] = field(default_factory=dict)  # name of a tracker -> its id of this run

    def resume(self, launch: Launch) -> "RunManifest":
        """Return the manifest of the resumed run."""
        return replace(self, launches=(*self.launches, launch), ended_at=None)


def describe_launch(command: Sequence[str], num_processes: int, now: datetime) -> Launch:
    """Describe this process, its machine and its code.

    Args:
        command: e.g. `sys.argv`.
        num_processes: of all machines together.
        now: with a time zone.
    """
    import torch  # reading a manifest needs no torch

    git_commit, git_dirty = _describe_checkout(Path(__file__).parents[4])
    return Launch(
        started_at=now.isoformat(timespec="seconds"),
        command=tuple(command),
        num_processes=num_processes,
        git_commit=git_commit,
        git_dirty=git_dirty,
        python=platform.python_version(),
        os=platform.platform(),
        cpu=_read_cpu_name(),
        num_cpus=os.cpu_count() or 1,
        gpus=tuple(torch.cuda.get_device_name(idx) for idx in range(torch.cuda.device_count())),
        packages=_list_versions(),
    )


def write_manifest(manifest: RunManifest, run_dir: Path) -> None:
    """Write run.json atomically."""
    with write_beside(run_dir / MANIFEST_FILE) as partial:
        partial.write_text(render_manifest(manifest), encoding="utf-8")


def read_manifest(run_dir: Path) -> RunManifest | None:
    """Read the manifest of a run; None if there is none. ValueError if it is damaged."""
    path = run_dir / MANIFEST_FILE
    return parse_manifest(path.read_text(encoding="utf-8"), str(path)) if path.is_file() else None


def render_manifest(manifest: RunManifest) -> str:
    """Render the text of run.json."""
    return json.dumps(asdict(manifest), indent=1, ensure_ascii=False) + "\n"


def parse_manifest(text: str, where: str) -> RunManifest:
    """Inverse of `render_manifest`; unknown keys are ignored. ValueError names `where`."""
    try:
        found = json.loads(text)
        launches = tuple(Launch(**_known(launch, Launch)) for launch in found["launches"])
        if not launches:
            raise ValueError("it has no launches")
        return RunManifest(**_known(found, RunManifest) | {"launches": launches})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{where} is damaged: {error}") from error


def _known(found: Mapping[str, Any], kind: type) -> dict[str, Any]:
    names = {item.name for item in fields(kind)}
    return {name: value for name, value in found.items() if name in names}


def _list_versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # tslm is used from a folder, not installed
            continue
    return versions


def _describe_checkout(folder: Path) -> tuple[str | None, bool | None]:
    """Return the commit of a checkout and whether its files differ from it; None without checkout or git."""
    if not (folder / ".git").exists():
        return None, None
    commit = _run_git(folder, "rev-parse", "HEAD")
    status = _run_git(folder, "status", "--porcelain")
    return commit or None, None if status is None else bool(status)


def _run_git(folder: Path, *words: str) -> str | None:
    try:
        answer = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _read_cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
