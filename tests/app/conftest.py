"""What tests of commands share."""

import pytest

from demoe.app import cli


@pytest.fixture
def call(capsys):
    """``call(words...)``: the exit status, stdout and stderr of ``demoe words...``."""

    def called(*words):
        try:
            status = cli.main([*map(str, words)])
        except SystemExit as error:
            status = error.code
        return status, *capsys.readouterr()

    return called
