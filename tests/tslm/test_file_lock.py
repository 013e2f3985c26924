import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tslm.file_lock import hold_lock

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOLD = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from tslm.file_lock import hold_lock
with hold_lock(Path(sys.argv[1]), "the run", datetime.now(UTC)):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_leaves_nothing_and_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(2):
        with hold_lock(tmp_path / "run" / "run.lock", "the run", NOW):
            assert {path.name for path in (tmp_path / "run").iterdir()} == {"run.lock", "run.lock.json"}
        assert not list((tmp_path / "run").iterdir())


def test_another_process_is_named_and_the_lock_of_a_killed_one_is_free(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(BlockingIOError, match=f"the run is in use by process {holder.pid} on"),
            hold_lock(path, "the run", NOW),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    started = time.monotonic()
    with hold_lock(path, "the run", NOW):
        pass
    assert time.monotonic() - started < 5
