"""`fleetbus cluster vault`: Vault's part of a member, written by its owner from what the cluster has signed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.ceremony.files import write_whole
from fleetbus.cli.ceremony.issue import Say
from fleetbus.cli.ceremony.join import make_vault_identity
from fleetbus.cli.ceremony.servers import vault_admin
from fleetbus.cli.durations import Duration
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.known_keys import known_keys
from fleetbus.runtime.clock import Clock, SystemClock
from fleetbus.runtime.jwks import public_keys
from fleetbus.schemas import subjects
from fleetbus.schemas.enrolment_api import EnrolmentRow
from fleetbus.schemas.errors import NotFound, NotPossible, SettingsInvalid, TimeoutExpired
from fleetbus.schemas.signing import verify
from fleetbus.schemas.subjects import ClusterId

if TYPE_CHECKING:
    from fleetbus.client import Fleet

_FILE = click.Path(path_type=Path, dir_okay=False)
_LOOK_EVERY_S = 0.3


@click.command("vault", short_help="write a member's part in Vault, with its owner's token")
@click.argument("name")
@click.option("--vault-token-file", type=_FILE, help="Vault's owner's token; or set VAULT_TOKEN.")
@click.option(
    "--timeout",
    "timeout_s",
    type=Duration(),
    default="2m",
    show_default=True,
    help="Wait so long for it to be enrolled.",
)
@pass_invocation
def command(invocation: Invocation, name: str, vault_token_file: Path | None, timeout_s: float) -> int:
    """
    \b
    fleetbus cluster vault prod-us --vault-token-file owner.token

    Mount, key set, entity and role of the cluster, from the keys of its ServiceAccounts as its agent has signed
    them. Until then the cluster works without secrets.
    """

    async def body(fleet: Fleet) -> int:
        keys = (await known_keys(fleet, invocation.context)).present
        row = await wait_enrolled(fleet, name, "", timeout_s, SystemClock(), keys)
        await write_vault(fleet, row, vault_token_file, invocation.output.line)
        return exit_codes.DONE

    return invocation.run(body)


def has_owners_token(token_file: Path | None) -> bool:
    return token_file is not None or bool(os.environ.get("VAULT_TOKEN"))


async def wait_enrolled(
    fleet: Fleet, name: str, uid: str, timeout_s: float, clock: Clock, keys: tuple[str, ...] = ()
) -> EnrolmentRow:
    """The row of a member, once it is one (with this UID, unless it is ''), as the controller has signed it.

    Raises TimeoutExpired, NotPossible (it was quarantined), SignatureRefused.
    """
    end = clock.monotonic_s() + timeout_s
    while True:
        rows = (await fleet.enrolments(name=name)).rows
        row = rows[0] if rows else None
        if row is not None and row.member_uid and uid in ("", row.member_uid):
            return _proven(row, keys)
        if row is not None and row.outcome == "quarantined":
            raise NotPossible(
                f"another cluster has the name `{name}`: this one is quarantined",
                remedy="take another name, or join with --replace if this one stands in its place",
            )
        if clock.monotonic_s() >= end:
            if row is None:
                raise NotFound(f"nobody has a token for the name `{name}`", remedy="fleetbus cluster join")
            raise TimeoutExpired(
                f"cluster {name} has not enrolled within {timeout_s:g} s", remedy="look at its agent's log"
            )
        await clock.sleep(_LOOK_EVERY_S)


def _proven(row: EnrolmentRow, keys: tuple[str, ...]) -> EnrolmentRow:
    """The row as signed, where it is known here by whom; else as it came."""
    if not keys:
        return row
    subject = subjects.enrolment(ClusterId(row.realm, row.name))
    return EnrolmentRow.from_bytes(verify(subject, row.proof.encode(), keys))


async def write_vault(fleet: Fleet, row: EnrolmentRow, token_file: Path | None, say: Say) -> None:
    """Vault's part, then its entity into the Cluster document.

    Raises SettingsInvalid (no token, no Vault), ObjectInvalid (no keys reported), VaultUnavailable, VaultForbidden.
    """
    place = (await fleet.enrolments(name=row.name)).vault
    if place is None:
        raise SettingsInvalid("the controller knows no Vault", remedy="fleetbus init --vault-address …")
    cluster = ClusterId(row.realm, row.name)
    keys = public_keys({"keys": list(row.service_account_keys)})
    with tempfile.TemporaryDirectory(prefix="fleetbus-") as folder:
        authority = Path(folder) / "vault-ca.crt" if place.ca else None
        if authority is not None:
            write_whole(authority, place.ca)
        async with vault_admin(place, token_file, authority) as vault:
            entity = await make_vault_identity(vault, cluster, keys, say)
    found = (await fleet.list("Cluster", names=(row.name,))).rows[0].document
    document: dict[str, Any] = {key: found[key] for key in ("apiVersion", "kind", "metadata", "spec")}
    document["spec"] = {**document["spec"], "vaultEntity": entity}
    for one in (await fleet.apply([document], reason="cluster vault")).applied:
        say(f"cluster/{one.name} {one.verb}")
