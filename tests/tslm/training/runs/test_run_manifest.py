import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from tests.factories.small import LAUNCH
from tslm.training.runs import manifest as run_manifest
from tslm.training.runs.manifest import (
    RunManifest,
    describe_launch,
    read_manifest,
    write_manifest,
)

NOW = datetime(2026, 11, 22, 8, 30, 1, 5, tzinfo=UTC)
MANIFEST = RunManifest(seed=3, launches=(LAUNCH,), data_sha256={"prepared/x/night.parquet": "ab12"})


@pytest.mark.parametrize(
    "manifest",
    [
        MANIFEST,
        replace(MANIFEST, ended_at="2026-11-22T09:30:01+00:00", tracker_runs={"mlflow": "µ1"}),
        MANIFEST.resume(replace(LAUNCH, git_commit=None, git_dirty=None, gpus=())),
    ],
)
def test_a_manifest_reads_back_as_it_was_written(manifest: RunManifest, tmp_path: Path) -> None:
    write_manifest(manifest, tmp_path)
    assert read_manifest(tmp_path) == manifest
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_folder_without_manifest_has_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


def test_a_resumed_run_keeps_its_starts_and_has_not_ended() -> None:
    later = replace(LAUNCH, started_at="2026-11-22T10:00:00+00:00")
    resumed = replace(MANIFEST, ended_at="2026-11-22T09:30:01+00:00").resume(later)
    assert resumed.launches == (LAUNCH, later)
    assert resumed.ended_at is None
    assert resumed.data_sha256 == MANIFEST.data_sha256


def test_keys_of_a_newer_version_are_left_alone(tmp_path: Path) -> None:
    write_manifest(MANIFEST, tmp_path)
    found = json.loads((tmp_path / "run.json").read_text()) | {"mood": "fine"}
    found["launches"][0]["weather"] = "dull"
    (tmp_path / "run.json").write_text(json.dumps(found))
    assert read_manifest(tmp_path) == MANIFEST


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"seed": 1, "launches": []}', '{"launches": [{}]}', "null"])
def test_a_damaged_manifest_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json is damaged: "):
        read_manifest(tmp_path)


def test_a_launch_tells_time_command_packages_and_machine() -> None:
    launch = describe_launch(["train.py", "--resume"], 2, NOW)
    assert datetime.fromisoformat(launch.started_at) == NOW.replace(microsecond=0)
    assert (launch.command, launch.num_processes) == (("train.py", "--resume"), 2)
    assert launch.packages["torch"] == version("torch")
    assert {"transformers", "peft", "accelerate", "numpy", "pyarrow"} <= launch.packages.keys()
    assert launch.cpu
    assert len(launch.gpus) == torch.cuda.device_count()


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_checkout_tells_its_commit_and_whether_files_differ_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "src" / "tslm" / "training" / "runs" / "manifest.py"
    source.parent.mkdir(parents=True)
    source.write_text("")
    monkeypatch.setattr(run_manifest, "__file__", str(source))
    launch = describe_launch([], 1, NOW)
    assert (launch.git_commit, launch.git_dirty) == (None, None)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    launch = describe_launch([], 1, NOW)
    assert (launch.git_commit, launch.git_dirty) == (git(tmp_path, "rev-parse", "HEAD"), False)
    source.write_text("changed")
    assert describe_launch([], 1, NOW).git_dirty
