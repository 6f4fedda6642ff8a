"""The kinds, each with its words, the plural first. Generated from the catalogue by `make generate`."""

from __future__ import annotations

from typing import Final

WORDS: Final = (
    ("Cluster", ("clusters", "cluster", "cl")),
    ("Source", ("sources", "source", "src")),
    ("Bundle", ("bundles", "bundle", "bu")),
    ("SecretBinding", ("secretbindings", "secretbinding", "sb")),
)
