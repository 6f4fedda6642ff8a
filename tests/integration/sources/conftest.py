"""A repository and the controller's work folder, for each test anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.sources.repositories import Repository, make_repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_repository(tmp_path / "platform")


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    return tmp_path / "work"
