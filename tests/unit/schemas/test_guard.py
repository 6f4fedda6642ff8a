"""What the guard may be told, and where an image comes from."""

from __future__ import annotations

import pytest

from fleetbus.schemas.guard import is_namespace_pattern, is_registry, repository


@pytest.mark.parametrize("text", ["*", "shop", "team-*", "t*", "a-1"])
def test_a_namespace_or_the_beginning_of_one(text: str) -> None:
    assert is_namespace_pattern(text)


@pytest.mark.parametrize("text", ["", "Shop", "a*b", "**", "'] + ['", "-a", "a b", "x" * 64])
def test_no_namespace(text: str) -> None:
    assert not is_namespace_pattern(text)


@pytest.mark.parametrize(
    "text", ["*", "registry.example.com", "h:5000", "h:5000/team", "docker.io/library/a_b"]
)
def test_a_registry(text: str) -> None:
    assert is_registry(text)


@pytest.mark.parametrize("text", ["", "https://h", "h/", "H.com", "h/../x", "h'", "h/x:1", "user@h"])
def test_no_registry(text: str) -> None:
    assert not is_registry(text)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("agent:1", "docker.io/library/agent"),
        ("team/agent", "docker.io/team/agent"),
        ("localhost/agent:1", "localhost/agent"),
        ("h:5000/agent:1.2", "h:5000/agent"),
        (f"registry.example.com/a/b:1@sha256:{'0' * 64}", "registry.example.com/a/b"),
    ],
)
def test_an_image_has_a_repository(image: str, expected: str) -> None:
    assert repository(image) == expected
