"""What cannot be logged is an operation that failed."""

from pathlib import Path

import pytest

from harness.model import Setting
from labs import logging_handlers


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("subject", [logging_handlers.leaky, logging_handlers.fixed])
def test_a_log_without_room_fails_the_operation(subject, tmp_path, capsys):
    """`logging` alone would print a traceback and go on; the next job is logged again."""
    (tmp_path / "job-1.log").symlink_to("/dev/full")
    with logging_handlers.workload(subject, Setting(tmp_path)) as workload:
        with pytest.raises(OSError, match="No space left"):
            workload.operate(1)
        assert "20 makes 22" in workload.operate(2)[1]
    assert capsys.readouterr().err == ""
