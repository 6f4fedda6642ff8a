"""What is believed is read again for each connection; a file that is only half there ends nothing."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from nacl.signing import SigningKey

from fleetbus.runtime.certificates import issue_for_key, make_authority
from fleetbus.runtime.trust import Trust, private_pem
from fleetbus.schemas.errors import SettingsInvalid
from fleetbus.schemas.nkeys import seed_of

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


KEY, OTHER = SigningKey(b"\x01" * 32), SigningKey(b"\x02" * 32)


def certificate(key: SigningKey) -> str:
    issuer = make_authority("clients", NOW)
    day = timedelta(days=1)
    return issue_for_key(issuer, "c1", bytes(key.verify_key), NOW, valid_for=day).decode()


def test_the_key_of_a_certificate_is_the_credentials_own() -> None:
    read = serialization.load_pem_private_key(private_pem(seed_of(KEY)).encode(), None)
    raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    assert read.public_key().public_bytes(*raw) == bytes(KEY.verify_key)


def test_a_certificate_for_another_key_is_refused_and_the_one_before_stays() -> None:
    pem = authority("first").decode()
    trust = Trust(ca_pem=pem, certificate=certificate(KEY))
    first = trust.context(seed_of(KEY))
    for wrong in (
        certificate(OTHER),
        "nonsense",
        "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----",
    ):
        with pytest.raises(SettingsInvalid, match="not for the key") as refused:
            trust.show(wrong, seed_of(KEY))
        assert seed_of(KEY) not in refused.value.sentence()
    assert trust.context(seed_of(KEY)) is first
    trust.show(certificate(KEY), seed_of(KEY))
    assert trust.context(seed_of(KEY)) is not first
    with pytest.raises(SettingsInvalid, match="not for the key"):
        Trust(ca_pem=pem, certificate=certificate(OTHER)).context(seed_of(KEY))


def test_who_shows_nothing_needs_no_certificate(tmp_path: Path) -> None:
    trust = Trust(ca_pem=authority("first").decode(), certificate_file=tmp_path / "missing")
    assert names(trust.context()) == ["first"]
    with pytest.raises(SettingsInvalid, match="client certificate cannot be read"):
        Trust(ca_pem=authority("first").decode(), certificate_file=tmp_path / "missing").context(seed_of(KEY))
