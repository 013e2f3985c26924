"""Origin and state of a run: its manifest run.json, and all facts that its folder holds.

The manifest lists launches with command, code, packages and machine, and checksums of the data. Every launch is kept,
so it shows if a run was resumed with other packages. Reading needs no torch.
"""

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from omegaconf import OmegaConf

from tslm.config.checkpoint import CHECKPOINT_CONFIG_FILE, SETTINGS_KEY
from tslm.config.files import CONFIG_FILE, flatten_settings, parse_yaml, to_plain
from tslm.config.schema import MODEL_KINDS, RunConfig
from tslm.files import parse_json, read_json, write_beside
from tslm.training.runs.folder import (
    BEST,
    CHECKPOINTS_DIR,
    LAST,
    LOG_FILE,
    MANIFEST_FILE,
    METRICS_FILE,
    PROGRESS_KEY,
    RESULTS_DIR,
    STATE_FILE,
    TRAINING_FILE,
    pick_main_metrics,
    read_log,
)

PACKAGES = (
    "tslm-sleep", "torch", "transformers", "peft", "accelerate", "safetensors", "numpy", "scipy", "pyarrow",
    "scikit-learn",
)  # fmt: skip


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
class Evaluation:
    """Scores of the test split that were made again, by --eval_only."""

    started_at: str  # UTC, ISO 8601
    command: tuple[str, ...]
    changes: tuple[str, ...]  # settings that were others than the run's: `key: of the run -> of the evaluation`

    def __post_init__(self) -> None:
        for name in ("command", "changes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True)
class RunManifest:
    """Content of run.json."""

    seed: int
    launches: tuple[Launch, ...]  # oldest first, at least one
    data_sha256: Mapping[str, str]  # by file, see tslm.data.splits.provenance
    ended_at: str | None = None  # None while it runs, or if it was killed
    tracker_runs: Mapping[str, str] = field(default_factory=dict)  # name of a tracker -> its id of this run
    evaluations: tuple[Evaluation, ...] = ()  # oldest first; the scores in the folder are of the last one, if any

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
        partial.write_text(json.dumps(asdict(manifest), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(run_dir: Path) -> RunManifest | None:
    """Read the manifest of a run, without unknown keys; None if there is none. ValueError if it is damaged."""
    path = run_dir / MANIFEST_FILE
    if not path.is_file():
        return None
    found = parse_json(path.read_bytes(), str(path))
    try:
        launches = tuple(Launch(**_select_known(launch, Launch)) for launch in found["launches"])
        if not launches:
            raise ValueError("it has no launches")
        evaluations = tuple(Evaluation(**_select_known(each, Evaluation)) for each in found.get("evaluations", ()))
        read = {"launches": launches, "evaluations": evaluations}
        return RunManifest(**_select_known(found, RunManifest) | read)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def record_evaluation(run_dir: Path, command: Sequence[str], changes: Sequence[str], now: datetime) -> None:
    """Add scores that were made again to run.json, if the run has one."""
    manifest = read_manifest(run_dir)
    if manifest is not None:
        evaluation = Evaluation(now.isoformat(timespec="seconds"), tuple(command), tuple(changes))
        write_manifest(replace(manifest, evaluations=(*manifest.evaluations, evaluation)), run_dir)


def describe_run(folder: Path) -> dict[str, Any]:
    """Return the facts of a run as JSON values; for a checkpoint, its own facts and those of its run.

    Raises:
        FileNotFoundError: the folder is neither a run nor a checkpoint.
        ValueError: a file in it is damaged, or was made by a newer version.
    """
    is_checkpoint = any((folder / name).is_file() for name in (STATE_FILE, CHECKPOINT_CONFIG_FILE))
    run_dir = _find_run(folder)
    if not is_checkpoint and run_dir is None:
        raise FileNotFoundError(
            f"{folder} holds neither a run ({CONFIG_FILE} and {CHECKPOINTS_DIR}/) nor a checkpoint "
            f"({CHECKPOINT_CONFIG_FILE}); give a folder such as results/LLM/MODEL/STAGE"
        )
    settings = _read_settings(folder)
    model = settings.get("model", {}).get("name")
    writes_text = model in MODEL_KINDS and MODEL_KINDS[model].role == "writer"
    facts: dict[str, Any] = {
        "folder": str(folder),
        "kind": "checkpoint" if is_checkpoint else "run",
        "stage": settings.get("stage", {}).get("name"),
        "model": model,
        "llm": settings.get("llm", {}).get("name") if writes_text else None,
        "seed": settings.get("seed"),
        "config": settings,
        **_compare_with_defaults(settings),
    }
    if run_dir is not None:
        facts |= _describe_origin(run_dir) | {"training": _describe_training(run_dir)}
    folders = [folder] if is_checkpoint else [folder / CHECKPOINTS_DIR / name for name in (BEST, LAST)]
    facts["checkpoints"] = {path.name: _describe_checkpoint(path) for path in folders if path.is_dir()}
    if is_checkpoint:
        facts["test"] = facts["checkpoints"][folder.name].get("evaluation", {})
    else:
        facts["test"] = pick_main_metrics(read_json(folder / RESULTS_DIR / METRICS_FILE))
    facts["files"] = {
        path.relative_to(folder).as_posix(): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()
    }
    return facts


def _select_known(found: Mapping[str, Any], kind: type) -> dict[str, Any]:
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


def _read_settings(folder: Path) -> dict[str, Any]:
    """Read the settings of a checkpoint or a run as they were written, by any version."""
    path = next(path for name in (CHECKPOINT_CONFIG_FILE, CONFIG_FILE) if (path := folder / name).is_file())
    if path.name == CHECKPOINT_CONFIG_FILE:
        found = read_json(path).get(SETTINGS_KEY)
    else:
        try:
            found = parse_yaml(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no settings; give the folder of a run or checkpoint of this library")
    return found


def _compare_with_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Find the settings that differ from this version's defaults, and those that this version does not know."""
    defaults: Any = OmegaConf.to_container(to_plain(RunConfig()))
    known, given = flatten_settings(defaults), flatten_settings(settings)
    return {
        "changed": {key: value for key, value in given.items() if key not in known or known[key] != value},
        "unknown": [key for key in given if key not in known],
    }


def _find_run(folder: Path) -> Path | None:
    """Find the folder of the run that `folder` belongs to."""
    folder = folder.resolve()
    candidates = [folder, folder.parent.parent] if folder.parent.name == CHECKPOINTS_DIR else [folder]
    return next((path for path in candidates if (path / CONFIG_FILE).is_file() and (path / LOG_FILE).is_file()), None)


def _describe_origin(run_dir: Path) -> dict[str, Any]:
    manifest = read_manifest(run_dir)
    if manifest is None:
        return {"launches": [], "data": {}}
    return {
        "launches": [asdict(launch) for launch in manifest.launches],
        "ended_at": manifest.ended_at,
        "tracker_runs": dict(manifest.tracker_runs),
        "evaluations": [asdict(evaluation) for evaluation in manifest.evaluations],
        "data": _sum_up_data(manifest.data_sha256),
        "data_sha256": dict(manifest.data_sha256),
    }


def _sum_up_data(data_sha256: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the number of files per data folder, and one checksum of their names and checksums."""
    folders: dict[str, dict[str, str]] = {}
    for name, digest in sorted(data_sha256.items()):
        path = PurePosixPath(name)
        folders.setdefault(str(path.parent), {})[path.name] = digest
    return {
        folder: {"num_files": len(files), "sha256": hashlib.sha256(json.dumps(files).encode()).hexdigest()}
        for folder, files in folders.items()
    }


def _describe_training(run_dir: Path) -> dict[str, Any]:
    """Return the progress of training from the last checkpoint, or else from the log."""
    records = read_log(run_dir / LOG_FILE)
    start = next((record for record in records if record.get("event") == "start"), {})
    end = next((record for record in reversed(records) if record.get("event") == "end"), None)
    steps = [record for record in records if "step" in record]
    found = {
        "is_finished": end is not None,
        "step": (end or {}).get("step", steps[-1]["step"] if steps else 0),
        "num_steps": start.get("num_steps"),
        "train_epoch": steps[-1].get("train_epoch") if steps else None,
        "stopped_early": (end or {}).get("stopped_early"),
        "wall_s": (end or {}).get("wall_s"),
    }
    return found | read_json(run_dir / CHECKPOINTS_DIR / LAST / TRAINING_FILE).get(PROGRESS_KEY, {})


def _describe_checkpoint(checkpoint_dir: Path) -> dict[str, Any]:
    size = sum(path.stat().st_size for path in checkpoint_dir.rglob("*") if path.is_file())
    return read_json(checkpoint_dir / STATE_FILE) | {"size_bytes": size}
