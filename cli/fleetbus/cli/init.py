"""`fleetbus init`: make a fleet in a folder; with --online make its streams."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from fleetbus.cli import exit_codes
from fleetbus.cli.ceremony.files import read_text
from fleetbus.cli.ceremony.folder import server_folder
from fleetbus.cli.ceremony.handing import context
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet, make_vault
from fleetbus.cli.ceremony.keys import person_file
from fleetbus.cli.ceremony.online import make_streams, push_accounts, reload_servers
from fleetbus.cli.ceremony.record import FILE, FleetRecord, Mtls, Node, Signing, read_record
from fleetbus.cli.ceremony.servers import signing_keys, vault_admin
from fleetbus.cli.invocation import Invocation, pass_invocation, warn_of_plaintext
from fleetbus.cli.output import Output
from fleetbus.cli.table import Cell
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.enrolment import VaultPlace
from fleetbus.schemas.roles import ROLES, OperatorRole

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("init")
@click.option("--out", "folder", type=_FOLDER, required=True, help="The fleet's folder; keep it safe.")
@click.option("--name", default="", help="The fleet's name: a DNS label.")
@click.option(
    "--host", "hosts", multiple=True, help="Name or address by which the bus is reached; the first is told."
)
@click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="NAME=HOST[:PORT]",
    help="Three or five times: a bus of several servers. They meet at PORT + 2000.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="Of the bus; 4222 for a new fleet.")
@click.option(
    "--websocket-port",
    type=click.IntRange(1, 65535),
    help="Take WebSockets there as well, for networks that let only 443 out. The servers have to be restarted.",
)
@click.option(
    "--operator",
    "operators",
    multiple=True,
    metavar="NAME[=ROLE]",
    help=f"Added, or given the role: {', '.join(ROLES)}, without one the last; `admin` for a new fleet.",
)
@click.option("--subscriber", "subscribers", multiple=True, help="Added; `events` for a new fleet.")
@click.option("--vault-address", default="", help="https:// address of Vault, to write its part as well.")
@click.option("--vault-token-file", type=_FILE, help="Its owner's token; or set VAULT_TOKEN.")
@click.option("--vault-ca", type=_FILE, help="PEM file of the authority of Vault's certificate.")
@click.option(
    "--root-key",
    type=_FILE,
    help="Where the root's seed is, instead of in the folder. Only this command needs it, and rarely.",
)
@click.option(
    "--signing",
    type=click.Choice(["files", "vault-transit"]),
    help="Where the keys live that sign tokens; `files` for a new fleet.",
)
@click.option(
    "--mtls",
    type=click.Choice(["off", "offered", "required"]),
    help="Certificates of clients too: `required` for a new fleet; one with clusters takes `offered` for a day first.",
)
@click.option(
    "--renew-certificates",
    "renew",
    is_flag=True,
    help="Make the servers' certificates again now; without it those that end within 60 days.",
)
@click.option(
    "--insecure-dev",
    is_flag=True,
    help="A new fleet WITHOUT TLS, on this machine's loopback alone. For development; it warns at each use.",
)
@click.option(
    "--online",
    is_flag=True,
    help="The second half: the bus runs. Give it its accounts, make its streams, have it read its certificates.",
)
@click.option("--no-context", is_flag=True, help="Do not write the first operator's context.")
@pass_invocation
def command(
    invocation: Invocation,
    folder: Path,
    name: str,
    hosts: tuple[str, ...],
    nodes: tuple[str, ...],
    port: int | None,
    websocket_port: int | None,
    mtls: Mtls | None,
    operators: tuple[str, ...],
    subscribers: tuple[str, ...],
    vault_address: str,
    vault_token_file: Path | None,
    vault_ca: Path | None,
    root_key: Path | None,
    signing: Signing | None,
    renew: bool,
    insecure_dev: bool,
    online: bool,
    no_context: bool,
) -> int:
    """
    \b
    fleetbus init --out fleet --name prod --host bus.example.com
    nats-server -c fleet/nats/server.conf
    fleetbus init --out fleet --online
    fleetbus init --out fleet --name prod --node a=a.example.com --node b=b.example.com --node c=c.example.com

    Run again it changes what is said and nothing else. The folder holds every key of the fleet, but for the root's
    with --root-key and those that sign tokens with --signing vault-transit: whoever has it owns the fleet.
    """
    if online:
        return _run_online(invocation, folder)
    known = read_record(folder) if (folder / FILE).is_file() else None
    if known is None and not (name and (hosts or nodes)):
        raise click.UsageError("Say --name, and --host or --node.")
    roles = dict(parse_operator(one) for one in operators)
    plan = FleetPlan(
        name or (known.fleet if known else ""),
        hosts,
        port or 0,
        operators=tuple(roles),
        roles={name: role for name, role in roles.items() if role},
        subscribers=subscribers,
        nodes=tuple(parse_node(one, port or 4222) for one in nodes),
        signing=signing,
        insecure_dev=insecure_dev,
        websocket_port=websocket_port or 0,
        mtls=mtls,
    )
    given = _given_vault(vault_address, vault_ca)
    where = Where(given or (known.vault if known else None), vault_token_file, folder)
    record = invocation.run_async(_make(plan, known, where, root_key, invocation.output, renew=renew))
    if given is not None:
        invocation.run_async(_vault(given, vault_token_file, vault_ca, folder, invocation.output))
    if not no_context:
        _save_context(folder, record, tuple(roles), invocation.output)
    _say_ready(invocation.output, folder, record)
    return exit_codes.DONE


def _run_online(invocation: Invocation, folder: Path) -> int:
    output, record = invocation.output, read_record(folder)
    if record.insecure_dev:
        warn_of_plaintext(output, f"the fleet {record.fleet}")
    servers = invocation.run_async(_online(folder, record))
    output.line(f"fleet/{record.fleet} accounts and streams ", Cell("ready", "good"))
    output.line(f"configuration and certificates read again by {', '.join(servers)}")
    return exit_codes.DONE


def _given_vault(address: str, ca_file: Path | None) -> VaultPlace | None:
    if not address:
        return None
    return VaultPlace(address=address.rstrip("/"), ca=read_text(ca_file) if ca_file else "")


@dataclass(frozen=True, slots=True)
class Where:
    """Where Vault is, if it is used, the file of its owner's token, and the fleet's folder."""

    vault: VaultPlace | None
    token_file: Path | None
    folder: Path


async def _make(
    plan: FleetPlan,
    known: FleetRecord | None,
    where: Where,
    root_key: Path | None,
    output: Output,
    *,
    renew: bool,
) -> FleetRecord:
    signing = known.signing if known else plan.signing or "files"
    opened = signing_keys(where.folder, plan.fleet, signing, where.vault, where.token_file)
    async with opened as keys:
        now = SystemClock().now()
        return await make_fleet(
            where.folder, plan, keys, now, output.line, root_key=root_key, renew_certificates=renew
        )


async def _online(folder: Path, record: FleetRecord) -> tuple[str, ...]:
    """The names of the servers, which have read their files again."""
    clock = SystemClock()
    await push_accounts(folder, tuple(record.accounts), clock)
    await make_streams(folder, clock)
    return await reload_servers(folder, clock)


def parse_operator(given: str) -> tuple[str, OperatorRole | None]:
    """`NAME[=ROLE]`. Raises UsageError."""
    name, equals, word = given.partition("=")
    role = next((one for one in ROLES if one == word), None)
    if not name or (equals and role is None):
        raise click.UsageError(f"--operator `{given}`: write NAME or NAME=ROLE, of {', '.join(ROLES)}.")
    return name, role


def parse_node(given: str, default_port: int) -> Node:
    """`NAME=HOST[:PORT]`, an address of IPv6 in brackets. Raises UsageError."""
    name, equals, place = given.partition("=")
    host, colon, port = place.rpartition(":")
    if not colon or "]" in port:
        host, port = place, str(default_port)
    if not equals or not name or not host or not port.isdigit() or not 0 < int(port) < 63536:
        raise click.UsageError(f"--node `{given}`: write NAME=HOST or NAME=HOST:PORT.")
    return Node(name=name, host=host.strip("[]"), port=int(port))


async def _vault(
    place: VaultPlace,
    token_file: Path | None,
    ca_file: Path | None,
    folder: Path,
    output: Output,
) -> None:
    async with vault_admin(place, token_file, ca_file) as admin:
        await make_vault(admin, place, folder, output.line)


def _save_context(folder: Path, record: FleetRecord, asked: tuple[str, ...], output: Output) -> None:
    from fleetbus.cli.contexts import save, user_of

    known = [one.name for one in record.people if one.kind == "operator"]
    before = user_of(record.fleet)
    operator = asked[0] if asked else before if before in known else known[0]
    file = person_file(folder, record, operator)
    if save(context(folder, record, record.fleet, operator, file)):
        output.line(f"context {record.fleet} written")


def _say_ready(output: Output, folder: Path, record: FleetRecord) -> None:
    if record.insecure_dev:
        warn_of_plaintext(output, f"the fleet {record.fleet}")
    output.line(f"fleet/{record.fleet} ", Cell("ready", "good"), f" in {folder}")
    output.note("")
    if record.nodes:
        output.note(
            f"Next: copy each of {folder}/nats/* to its machine and, in it: nats-server -c server.conf"
        )
    for line in (
        *([] if record.nodes else [f"nats-server -c {server_folder(folder) / 'server.conf'}"]),
        f"fleetbus init --out {folder} --online",
        f"fleetbus-controller --config {folder / 'controller.json'}",
        "fleetbus cluster join NAME --kube-context CONTEXT --image IMAGE",
    ):
        output.note("Next: ", Cell(line, "command"))
