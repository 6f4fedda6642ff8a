"""The tokens of a fleet: made when they are missing or would say something else, untouched otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from nacl.signing import SigningKey

from fleetbus.cli.ceremony.files import write_whole
from fleetbus.cli.ceremony.folder import (
    OPERATOR_TOKEN,
    credential_file,
    read_token,
    token_file,
    write_servers,
)
from fleetbus.cli.ceremony.keys import (
    ACCOUNTS,
    SigningKeys,
    read_credential,
    root_signer,
    write_credential,
)
from fleetbus.cli.ceremony.record import FleetRecord, changing, read_record
from fleetbus.runtime.ports import Signer
from fleetbus.schemas.accounts import (
    SYS,
    Keys,
    account_claims,
    operator_claims,
    role_key_name,
    user_claims,
)
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.errors import Refused, SettingsInvalid
from fleetbus.schemas.nats_jwt import Claims, signed, unsigned, verify
from fleetbus.schemas.nkeys import Kind, key_of_seed, public_key, seed_of

Say = Callable[[str], None]
"""Told one line about each thing that was made or changed."""


@dataclass(frozen=True, slots=True)
class UserPlace:
    """Whose credential, in which file of the folder, in which account and role."""

    file: str
    name: str
    account: str
    role: str
    types: tuple[str, ...] = ()


async def issue(
    folder: Path,
    keys: SigningKeys,
    now: datetime,
    say: Say = lambda line: None,
    *,
    root_key: Path | None = None,
) -> tuple[str, ...]:
    """Tokens of operator and accounts as the record has them, then the servers' configuration.

    The names of the accounts whose token is new: a running bus does not know it yet. Raises NotFound when a key
    that has to sign is not there.
    """
    while True:
        record = read_record(folder)
        made = await _tokens(folder, record, keys, now, root_key)
        with changing(folder):
            # Nothing is locked while somebody signs: who was faster has said more than was signed here.
            if read_record(folder) != record:
                continue
            for name, token in made.items():
                write_whole(token_file(folder, name), token + "\n")
            if write_servers(folder, record):
                say("nats/ written")
        for name in made:
            say(f"token of {name} made")
        return tuple(name for name in made if name != OPERATOR_TOKEN)


async def _tokens(
    folder: Path, record: FleetRecord, keys: SigningKeys, now: datetime, root_key: Path | None
) -> dict[str, str]:
    """Those that are not as they should be, by name."""
    made: dict[str, str] = {}
    root = operator_claims(
        record.operator, record.fleet, record.accounts_signing, record.accounts[SYS], _seconds(now)
    )
    if (issued := _newer(folder, OPERATOR_TOKEN, root)) is not None:
        made[OPERATOR_TOKEN] = await sign(issued, root_signer(folder, root_key))
    for name, claims in wanted_accounts(record, now).items():
        if (issued := _newer(folder, name, claims)) is not None:
            made[name] = await sign(issued, await keys.find(ACCOUNTS, Kind.OPERATOR))
    return made


def wanted_accounts(record: FleetRecord, now: datetime) -> dict[str, Claims]:
    """What the accounts' tokens are to say, by name: the contract's data, and who is there."""
    wanted: dict[str, Claims] = {}
    for account in record.contract_accounts():
        revoked = {one.nkey: one.at for one in record.revoked if one.account == account.name}
        wanted[account.name] = account_claims(
            account, record.keys, record.accounts_signing, _seconds(now), revoked
        )
    return wanted


def _newer(folder: Path, name: str, claims: Claims) -> Claims | None:
    """None when the token that is there says this; else the claims, later than it, as a server takes the latest."""
    try:
        there = verify(read_token(folder, name))
    except Refused:
        return claims
    if there.says_the_same(claims):
        return None
    return replace(claims, issued_at=max(claims.issued_at, there.issued_at + 1))


async def sign(claims: Claims, signer: Signer) -> str:
    """The token. Raises SettingsInvalid when the key is not the one that the claims name."""
    if signer.public_key != claims.issuer:
        raise SettingsInvalid(f"the key that signs for `{claims.name}` is not the one of the fleet's record")
    content = unsigned(claims)
    return signed(content, await signer.sign(content))


async def ensure_credential(
    folder: Path, place: UserPlace, keys: Keys, signing: SigningKeys, now: datetime, say: Say
) -> str:
    """The public key of a user whose credential is in the folder; the seed stays, the token says what it should."""
    there = read_credential(folder, place.file) if credential_file(folder, place.file).is_file() else None
    key = key_of_seed(there.seed) if there else SigningKey.generate()
    nkey = public_key(key)
    claims = user_claims(nkey, place.name, place.account, place.role, keys, _seconds(now), types=place.types)
    if there is None or not there.claims.says_the_same(claims):
        name = role_key_name(place.account, place.role)
        token = await sign(claims, await signing.find(name, Kind.ACCOUNT))
        write_credential(folder, place.file, Credential(token, seed_of(key)))
        say(f"keys/{place.file}.creds made")
    return nkey


def _seconds(now: datetime) -> int:
    return int(now.timestamp())
