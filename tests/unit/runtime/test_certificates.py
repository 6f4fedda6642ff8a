"""What an authority issues is trusted through it for exactly its use, its names and its time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from fleetbus.runtime.certificates import (
    Issued,
    expires_at,
    issue_client,
    issue_peer,
    issue_server,
    make_authority,
    make_signing_key,
)
from fleetbus.schemas.errors import SettingsInvalid

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
AUTHORITY = make_authority("fleet", NOW)


def _verify(issued: Issued, authority: Issued, host: str, at: datetime) -> None:
    store = Store([x509.load_pem_x509_certificate(authority.certificate)])
    name = x509.IPAddress(IPv4Address(host)) if host[0].isdigit() else x509.DNSName(host)
    verifier = PolicyBuilder().store(store).time(at).build_server_verifier(name)
    verifier.verify(x509.load_pem_x509_certificate(issued.certificate), [])


@pytest.mark.parametrize("issue", [issue_server, issue_peer])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_server_is_trusted_under_each_of_its_names(issue: Callable[..., Issued], host: str) -> None:
    issued = issue(AUTHORITY, "nats", ["127.0.0.1", "localhost"], NOW)

    _verify(issued, AUTHORITY, host, NOW)


@pytest.mark.parametrize(
    ("host", "authority", "at"),
    [
        ("elsewhere", AUTHORITY, NOW),
        ("localhost", make_authority("fleet", NOW), NOW),
        ("localhost", AUTHORITY, NOW + timedelta(days=366)),
        ("localhost", AUTHORITY, NOW - timedelta(hours=1)),
    ],
    ids=["another name", "another authority", "too late", "too early"],
)
def test_a_server_is_not_trusted(host: str, authority: Issued, at: datetime) -> None:
    issued = issue_server(AUTHORITY, "nats", ["localhost"], NOW)

    with pytest.raises(VerificationError):
        _verify(issued, authority, host, at)


def test_a_client_names_user_and_groups_and_is_no_server() -> None:
    issued = issue_client(AUTHORITY, "kubernetes-admin", NOW, organizations=["system:masters"])

    subject = x509.load_pem_x509_certificate(issued.certificate).subject.rfc4514_string()
    assert subject == "CN=kubernetes-admin,O=system:masters"
    with pytest.raises(VerificationError):
        _verify(issued, AUTHORITY, "kubernetes-admin", NOW)


def test_the_end_of_a_certificate_can_be_read() -> None:
    assert expires_at(AUTHORITY.certificate) == NOW + timedelta(days=3650)
    with pytest.raises(SettingsInvalid):
        expires_at(b"no certificate")


def test_private_halves_do_not_show() -> None:
    assert "PRIVATE" not in repr(AUTHORITY)
    assert "PRIVATE" not in repr(make_signing_key("ecdsa"))
