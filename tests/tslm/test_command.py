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
