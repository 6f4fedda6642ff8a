"""Whatever a file in the folder of documents holds, it is refused or applied, and the next one is read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fleetbus.controller.audit import Author
from fleetbus.controller.doors import directory
from fleetbus.schemas.errors import FleetbusError


@pytest.mark.parametrize(
    "text",
    ["a: " + "9" * 5000, "- a\n", "a: [" * 300, "kind: Bundle\nspec: 7\n", "\x00", "a: &a [*a]\n"],
)
async def test_no_file_raises_anything(text: str) -> None:
    refused: list[tuple[Author, str]] = []

    async def add(author: Author, object_: str, error: FleetbusError) -> None:
        refused.append((author, error.error_code))

    desk: Any = SimpleNamespace(documents=None, refusals=SimpleNamespace(add=add))
    assert await directory._apply(desk, "a.yaml", directory._Found((1, 1), text))
    assert [author.by for author, _ in refused] == ["directory:a.yaml"]


async def test_a_mistake_of_ours_is_said_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ValueError("a value nobody thought of")

    monkeypatch.setattr(directory, "load_documents", fails)
    desk: Any = SimpleNamespace(documents=None)
    sentence = await directory._apply(desk, "a.yaml", directory._Found((1, 1), "a: 1"))
    assert sentence == "the controller failed over it: ValueError"


def test_an_unreadable_file_is_looked_at_later(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to(tmp_path / "nowhere")
    assert directory._changed(tmp_path, {}) == {}
