"""Answers of the Kubernetes API as errors: which can be tried again, what they say, and what they never say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from fleetbus.runtime.foreign_text import MAX_MESSAGE, cleaned
from fleetbus.runtime.kube_errors import error_of
from fleetbus.schemas.errors import (
    AlreadyExists,
    ApplyRefused,
    FleetbusError,
    KubeConflict,
    KubeUnavailable,
    NotFound,
)


def status(reason: str = "", message: str = "", causes: list[dict[str, Any]] | None = None) -> bytes:
    return orjson.dumps(
        {"kind": "Status", "reason": reason, "message": message, "details": {"causes": causes or []}}
    )


@pytest.mark.parametrize(
    ("code", "reason", "message", "expected"),
    [
        (400, "BadRequest", "m", ApplyRefused),
        (401, "Unauthorized", "m", KubeUnavailable),
        (403, "Forbidden", "m", ApplyRefused),
        (404, "NotFound", "m", NotFound),
        (405, "MethodNotAllowed", "m", ApplyRefused),
        (409, "AlreadyExists", "m", AlreadyExists),
        (409, "Conflict", "m", KubeConflict),
        (410, "Expired", "m", KubeUnavailable),
        (413, "RequestEntityTooLarge", "m", ApplyRefused),
        (422, "Invalid", "m", ApplyRefused),
        (429, "TooManyRequests", "m", KubeUnavailable),
        (500, "InternalError", "m", KubeUnavailable),
        (500, "", "failed to create typed patch object (n/a; /v1, Kind=ConfigMap): .data.a", ApplyRefused),
        (503, "ServiceUnavailable", "m", KubeUnavailable),
        (504, "Timeout", "m", KubeUnavailable),
    ],
)
def test_each_status_is_an_error(code: int, reason: str, message: str, expected: type[FleetbusError]) -> None:
    error = error_of(code, status(reason, message), where="ConfigMap n/a")
    assert type(error) is expected
    assert error.where == "ConfigMap n/a"
    assert code == 401 or error.message == message
    assert not isinstance(error, ApplyRefused) or error.status == code


@pytest.mark.parametrize("body", [b"", b"<html>oops</html>", b"[1]", b'"x"', b"\xff\xfe"])
def test_a_body_that_is_no_status_is_not_shown(body: bytes) -> None:
    assert error_of(502, body).message == "refused (502)"


def test_a_conflict_names_fields_and_managers_and_no_value() -> None:
    causes = [
        {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl" using v1', "field": ".data.a"},
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "hpa" with subresource',
            "field": ".spec.b",
        },
        {"reason": "Other", "message": "x", "field": ".c"},
    ]
    error = error_of(409, status("Conflict", "long", causes))
    assert error.message == "other managers own .data.a (kubectl), .spec.b (hpa)"


def test_of_a_secret_only_the_reason_is_kept() -> None:
    error = error_of(422, status("Invalid", 'data: Invalid value: "canary"'), where="Secret n/a", secret=True)
    assert error.sentence() == "Secret n/a: Invalid (422)"


_BY_GUARD = (
    "secrets \"x\" is forbidden: ValidatingAdmissionPolicy 'fleetbus-guard' with binding 'fleetbus-guard'"
    " denied request: Secret kube-system/x: namespace kube-system is closed to the agent; never"
)


@pytest.mark.parametrize("secret", [True, False])
def test_the_guards_sentence_is_kept_without_the_words_around_it(secret: bool) -> None:
    error = error_of(403, status("Forbidden", _BY_GUARD), where="Secret kube-system/x", secret=secret)
    assert isinstance(error, ApplyRefused)
    assert error.message == "namespace kube-system is closed to the agent; never"


def test_another_policy_is_named_and_of_a_secret_not_quoted() -> None:
    body = status("Invalid", _BY_GUARD.replace("fleetbus-guard", "no-canary"))
    assert error_of(422, body).message.startswith("policy no-canary refuses it: Secret kube-system/x:")
    assert error_of(422, body, secret=True).message == "Invalid (422)"


def test_text_is_one_short_printable_line() -> None:
    assert cleaned("a\n\tb \x1b[31mred\x1b[0m \u202egnp.exe \u2028z") == "a b red gnp.exe z"
    assert len(cleaned("é" * 1000)) == MAX_MESSAGE
    assert cleaned("é" * 1000).endswith("…")
