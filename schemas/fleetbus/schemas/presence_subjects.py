"""Subjects of presence: what the system's account tells of a realm's, and how the controller's account names it."""

from __future__ import annotations

from fleetbus.schemas.errors import DocumentInvalid
from fleetbus.schemas.subjects import ROOT, cluster_name

CONNECT, DISCONNECT = "connect", "disconnect"
ADVISORIES = (CONNECT, DISCONNECT)
"""Somebody has come to a realm's account, or has left it."""

ALL_PRESENCE = f"{ROOT}.presence.*.*"


def presence(realm: str, word: str) -> str:
    """Where an advisory of ADVISORIES comes."""
    return f"{ROOT}.presence.{cluster_name(realm)}.{word}"


def realm_connections(realm: str) -> str:
    """The question which connections a realm's account has; each server answers for its own."""
    return f"{ROOT}.connections.{cluster_name(realm)}"


def account_advisory(account: str, word: str) -> str:
    """Where the system's account tells the same; `account` is a public key."""
    return f"$SYS.ACCOUNT.{account}.{word.upper()}"


def account_connections(account: str) -> str:
    """Where the system's account is asked the same."""
    return f"$SYS.REQ.ACCOUNT.{account}.CONNZ"


def parse_presence(subject: str) -> tuple[str, str] | None:
    """Inverse of `presence`: realm and advisory; None for anything else."""
    realm, _, word = subject.removeprefix(f"{ROOT}.presence.").partition(".")
    found = _realm(realm)
    return (found, word) if found and word in ADVISORIES and subject == presence(found, word) else None


def parse_realm_connections(subject: str) -> str | None:
    """Inverse of `realm_connections`: the realm; None for anything else."""
    found = _realm(subject.removeprefix(f"{ROOT}.connections."))
    return found if found and subject == realm_connections(found) else None


def _realm(name: str) -> str | None:
    try:
        return cluster_name(name)
    except DocumentInvalid:
        return None
