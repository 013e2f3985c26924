import subprocess
import sys
import warnings

import pytest

from tslm.command import run_command


def test_a_result_is_printed_and_the_command_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(lambda: "3 recordings") == 0
    assert capsys.readouterr().out == "3 recordings\n"


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (ValueError("wanted\n  a number"), 2),
        (FileNotFoundError("wanted a number"), 2),
        (NotADirectoryError("wanted a number"), 2),
        (FloatingPointError("wanted a number"), 2),
        (PermissionError("wanted a number"), 1),
        (ImportError("wanted a number"), 1),
    ],
)
def test_an_error_is_one_line_and_a_code(error: Exception, exit_code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> str:
        raise error

    assert run_command(action) == exit_code
    assert capsys.readouterr().err == "error: wanted a number\n"


def test_a_message_cannot_steer_the_terminal_and_a_lack_of_memory_is_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def steer() -> str:
        raise ValueError("channel \x1b[2J\x07µV is missing")

    def fill() -> str:
        raise MemoryError("4 TiB")

    assert run_command(steer) == 2
    assert capsys.readouterr().err == "error: channel ?[2J?µV is missing\n"
    assert run_command(fill) == 1
    assert capsys.readouterr().err.startswith("error: not enough memory (4 TiB); give")


@pytest.mark.parametrize(
    ("interrupt", "said"),
    [(KeyboardInterrupt(), "interrupted"), (KeyboardInterrupt("stopped after step 3"), "stopped after step 3")],
)
def test_an_interrupt_says_how_to_go_on(
    interrupt: BaseException, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def action() -> str:
        raise interrupt

    assert run_command(action, "run again to continue") == 1
    assert capsys.readouterr().err == f"error: {said}; run again to continue\n"


def test_what_nobody_foresaw_is_not_hidden() -> None:
    def action() -> str:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_command(action)


@pytest.mark.parametrize(
    ("redirection", "said"),
    [
        ("| true", "error: not all of the output could be written: Broken pipe\n"),
        ("> /dev/full", "error: not all of the output could be written: No space left on device\n"),
        (">&-", ""),
        ("2>&- | cat > /dev/null", ""),
    ],
)
def test_an_output_that_cannot_be_written_is_one_line(redirection: str, said: str) -> None:
    code = (
        "import sys, time; from tslm.command import run_command; from tslm.progress_bar import progress_bar;"
        "sys.exit(run_command(lambda: time.sleep(0.3) or ' '.join(map(str, progress_bar(range(100000), delay=9)))))"
    )
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {redirection}; exit ${{PIPESTATUS[0]}}', sys.executable, code],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines(keepends=True) if "it/s" not in line]  # but for the bar
    assert ("".join(lines), done.returncode) == (said, 1 if said else 0)


def test_announcements_of_other_packages_to_their_developers_are_not_shown() -> None:
    def action() -> str:
        warnings.warn_explicit("deprecated", FutureWarning, "f.py", 1, module="transformers.modeling_utils")
        warnings.warn_explicit("overflow", RuntimeWarning, "f.py", 1, module="transformers.modeling_utils")
        return "done"

    with warnings.catch_warnings(record=True) as shown:
        run_command(action)
    assert [str(each.message) for each in shown] == ["overflow"]
