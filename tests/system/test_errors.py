import pytest

from fst.system.errors import InputError, one_line_errors


def test_an_input_error_is_one_line_and_status_1(capsys):
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise InputError("photo.jpg: expected a picture, found none")
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: photo.jpg: expected a picture, found none\n"


def test_a_workers_traceback_is_left_out(capsys):
    message = (
        "Caught InputError in worker.\nTraceback\n  ...\nfst.system.errors.InputError: the cause\n"
    )
    with pytest.raises(SystemExit), one_line_errors():
        raise InputError(message)
    assert capsys.readouterr().err == "error: the cause\n"


def test_other_exceptions_are_bugs_and_pass():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        1 / 0  # noqa: B018
