"""Documents as operators write them, against the kinds that there are: all are valid, or one error says what is not."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from fleetbus.runtime.foreign_text import cleaned
from fleetbus.schemas.catalogue import KINDS, kind_named
from fleetbus.schemas.documents import API_VERSION, Document
from fleetbus.schemas.errors import DocumentInvalid
from fleetbus.schemas.models import wrong_fields

_MOST_TOLD = 5


def validated(documents: Sequence[Mapping[str, Any]]) -> list[Document]:
    """Raises DocumentInvalid with the first few findings, each naming its document and field."""
    found: list[Document] = []
    wrong: list[str] = []
    for index, document in enumerate(documents, 1):
        try:
            found.append(_valid(document, index))
        except DocumentInvalid as error:
            wrong.append(error.sentence())
    if wrong:
        more = f"; and {len(wrong) - _MOST_TOLD} more" if len(wrong) > _MOST_TOLD else ""
        raise DocumentInvalid("; ".join(wrong[:_MOST_TOLD]) + more)
    return found


def known_kind(word: str) -> str:
    """The kind for any word that names one. Raises DocumentInvalid."""
    kind = kind_named(word)
    if kind is None:
        raise DocumentInvalid(
            f"there is no kind `{cleaned(word, 40)}`", remedy=f"take one of {', '.join(KINDS)}"
        )
    return kind


def _valid(document: Mapping[str, Any], index: int) -> Document:
    metadata = document.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    kind = document.get("kind")
    where = f"{kind} {name}" if isinstance(kind, str) and isinstance(name, str) else f"document {index}"
    where = cleaned(where, 120)
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        guess = difflib.get_close_matches(str(kind), KINDS, n=1)
        raise DocumentInvalid(
            f"`{cleaned(str(kind), 40)}` is no kind",
            where=where,
            remedy=f"did you mean `{guess[0]}`?" if guess else f"take one of {', '.join(KINDS)}",
        )
    if document.get("apiVersion") != API_VERSION:
        raise DocumentInvalid(
            "apiVersion is another", where=where, remedy=f"write `apiVersion: {API_VERSION}`"
        )
    try:
        return model.model_validate(dict(document))
    except ValidationError as error:
        raise DocumentInvalid(
            "; ".join(cleaned(one, 300) for one in wrong_fields(error)[:_MOST_TOLD]), where=where
        ) from error
