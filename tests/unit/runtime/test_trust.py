"""What is believed is read again for each connection; a file that is only half there ends nothing."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetbus.runtime.certificates import make_authority
from fleetbus.runtime.trust import Trust
from fleetbus.schemas.errors import SettingsInvalid

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def authority(name: str, days: int = 3650) -> bytes:
    return make_authority(name, NOW, valid_days=days).certificate


def tuples(subject: Any) -> list[tuple[tuple[str, str], ...]]:
    return list(subject)


def names(context: ssl.SSLContext) -> list[str]:
    return [dict(part)["commonName"] for one in context.get_ca_certs() for part in tuples(one["subject"])]


def test_an_authority_that_was_replaced_counts_for_the_next_connection(tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(authority("first"))
    trust = Trust(ca_file=file)
    first = trust.context()
    assert trust.context() is first
    file.write_bytes(authority("second"))
    assert names(trust.context()) == ["second"]
    assert names(first) == ["first"]


@pytest.mark.parametrize("content", [b"", b"\n", b"-----BEGIN CERTIFICATE-----\nhalf", b"\xff\xfe"])
def test_a_file_that_cannot_be_used_leaves_the_last_good_one(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ca.crt"
    file.write_bytes(content)
    with pytest.raises(SettingsInvalid, match="authority"):
        Trust(ca_file=file).context()
    file.write_bytes(authority("first"))
    trust = Trust(ca_file=file)
    first = trust.context()
    file.write_bytes(content)
    assert trust.context() is first
    file.unlink()
    assert trust.context() is first
    file.write_bytes(authority("second"))
    assert names(trust.context()) == ["second"]


def test_what_is_given_as_text_can_be_replaced_and_not_by_nonsense() -> None:
    trust = Trust(ca_pem=authority("first").decode())
    first = trust.context()
    with pytest.raises(SettingsInvalid):
        trust.replace("nonsense")
    with pytest.raises(SettingsInvalid):
        trust.replace("")
    assert trust.context() is first
    trust.replace((authority("second") + authority("third")).decode())
    assert names(trust.context()) == ["second", "third"]


def test_when_the_first_of_several_authorities_ends_is_known() -> None:
    both = authority("late", days=100) + authority("soon", days=10)
    ends_at = Trust(ca_pem=both.decode()).authorities_end_at()
    assert ends_at is not None
    assert (ends_at - NOW).days == 10
    assert Trust().authorities_end_at() is None


def test_no_connection_is_below_tls_1_3() -> None:
    context = Trust(ca_pem=authority("first").decode()).context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
