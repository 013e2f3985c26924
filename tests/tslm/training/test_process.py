import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tslm.training.process import StopSignals


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_passed_on_ones_do_no_harm(number: signal.Signals) -> None:
    with StopSignals() as stop:
        assert not stop.is_set()
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()


def test_a_later_signal_ends_the_process() -> None:
    code = (
        "import signal\n"
        "from tslm.training import process\n"
        "process._PATIENCE_S = -1.0\n"
        "with process.StopSignals():\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGTERM
    assert "still here" not in done.stdout
    assert "SIGTERM: stopping after this step" in done.stderr


def test_a_thread_that_takes_no_signals_can_train_as_well() -> None:
    found: list[bool] = []

    def train() -> None:
        with StopSignals() as stop:
            found.append(stop.is_set())

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [False]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel call is Linux's")
@pytest.mark.parametrize(("launcher", "follows"), [("accelerate", True), ("another", False)])
def test_a_process_ends_with_its_launcher_and_with_no_other_parent(
    launcher: str, follows: bool, tmp_path: Path
) -> None:
    child = (
        "import signal, sys; from tslm.training.process import end_with_launcher\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "print(end_with_launcher(), flush=True)\n"
        "sys.stdin.read()  # until the parent, which holds the other end, is no more\n"
        "print(signal.sigtimedwait([signal.SIGTERM], 0.5) is not None, flush=True)\n"
    )
    script = tmp_path / launcher
    script.write_text(
        f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE).wait()\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == f"{follows}\n"
    parent.kill()
    assert parent.stdout.readline() == f"{follows}\n"
    parent.wait()
