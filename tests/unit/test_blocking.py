"""What would stop the loop is seen, wherever a test runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from blockbuster import BlockingError

from fleetbus.runtime.vault import _token_text


async def test_a_file_that_a_program_reads_on_the_loop_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    with pytest.raises(BlockingError):
        _token_text(tmp_path / "token")


def test_without_a_loop_it_may(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    assert _token_text(tmp_path / "token") == "t"
