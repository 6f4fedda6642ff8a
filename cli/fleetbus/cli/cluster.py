"""`fleetbus cluster`: join a cluster to the fleet, or remove it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetbus.cli import exit_codes, view
from fleetbus.cli.ceremony.admit import JoinRequest
from fleetbus.cli.ceremony.agent_pod import deployment
from fleetbus.cli.ceremony.guard import Allowed, guard_manifests, read_guard
from fleetbus.cli.ceremony.issue import Say
from fleetbus.cli.ceremony.join import Joined, join
from fleetbus.cli.ceremony.leave import leave_bus, leave_vault
from fleetbus.cli.ceremony.manifests import PROFILES, agent_manifests
from fleetbus.cli.ceremony.online import push_accounts
from fleetbus.cli.ceremony.record import read_record
from fleetbus.cli.ceremony.servers import kube_client, signing_keys, vault_admin
from fleetbus.cli.confirm import confirm
from fleetbus.cli.durations import Duration
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.output import Output
from fleetbus.cli.wait import Target, wait_for
from fleetbus.cli.waiting import Goal
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.errors import BusUnavailable, NotFound, NotPermitted, SettingsInvalid
from fleetbus.schemas.subjects import MAIN, ClusterId

if TYPE_CHECKING:
    from fleetbus.client import Fleet
    from fleetbus.runtime.ports import Kube
    from fleetbus.schemas.api import ApplyResult

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_CONTROLLER_S = 20.0


@click.group("cluster")
def command() -> None:
    """
    \b
    fleetbus cluster join prod-us --kube-context prod-us --label env=prod --fleet-dir fleet
    fleetbus cluster remove prod-us --fleet-dir fleet
    """


@command.command("join", short_help="join a cluster to the fleet")
@click.argument("name")
@click.option(
    "--fleet-dir",
    "folder",
    type=_FOLDER,
    envvar="FLEETBUS_FLEET_DIR",
    required=True,
    help="The folder that `fleetbus init` made; or set FLEETBUS_FLEET_DIR.",
)
@click.option("--kube-context", default="", help="Context of the kubeconfig; default: its current one.")
@click.option("--kubeconfig", type=_FILE, help="Default: KUBECONFIG, or ~/.kube/config.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="What placement selects on.")
@click.option("--owner", default="", help="Team or person to ask.")
@click.option("--realm", default=MAIN, show_default=True)
@click.option(
    "--bus-server", "servers", multiple=True, help="tls://host:port, when agents reach the bus elsewhere."
)
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    default="standard",
    show_default=True,
    help="The agent's rights: observe writes nothing, standard the usual kinds; full may also give rights that it"
    " does not have itself (bind, escalate), for bundles that bring RBAC, such as cert-manager.",
)
@click.option(
    "--image", default="", help="Image that runs `fleetbus-agent`; without it no Deployment is made."
)
@click.option("--manifests", type=click.Path(path_type=Path), help="File or folder instead of those shipped.")
@click.option(
    "--guard/--no-guard",
    "guard",
    default=None,
    help="Fence the agent by a policy of the cluster's owner; default: yes, unless the profile is observe.",
)
@click.option(
    "--allow-namespaces",
    "namespaces",
    multiple=True,
    metavar="NAME|BEGIN*",
    help="For the guard; default: all.",
)
@click.option(
    "--allow-registries",
    "registries",
    multiple=True,
    metavar="HOST[/PATH]",
    help="For the guard; default: all.",
)
@click.option("--vault-token-file", type=_FILE, help="Vault's owner's token; or set VAULT_TOKEN.")
@click.option(
    "--print", "printing", is_flag=True, help="Print the objects for kubectl; the cluster is only read."
)
@click.option("--document-only", is_flag=True, help="Print the Cluster document instead of applying it.")
@click.option(
    "--replace", is_flag=True, help="It stands in the place of another cluster that has joined by this name."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask before --replace.")
@click.option("--wait", "waiting", is_flag=True, help="Wait until the agent has registered.")
@click.option("--timeout", "timeout_s", type=Duration(), default="2m", show_default=True, help="For --wait.")
@pass_invocation
def join_command(invocation: Invocation, /, name: str, **options: Any) -> int:
    """
    \b
    fleetbus cluster join prod-us --kube-context prod-us --label env=prod --fleet-dir fleet --image IMAGE --wait
    fleetbus cluster join edge-1 --kubeconfig edge.yaml --fleet-dir fleet --print > agent.yaml

    Makes the cluster's user on the bus, its mount and entity in Vault, the agent in the cluster, and the Cluster
    document. Run twice it changes nothing; a name that another cluster has is refused. What --print prints holds
    the agent's seed: whoever reads it can speak as this cluster.
    """
    yes = bool(options.pop("yes"))
    chosen = Chosen(**options)
    output = invocation.output
    ClusterId(chosen.realm, name)
    if chosen.replace:
        consequence = (
            f"lets this cluster have all that cluster {name} has: bundles, secrets, Vault's identity."
        )
        confirm(invocation, consequence, name, yes=yes)
    # What is printed is for another program, so everything else goes to standard error.
    quiet = chosen.printing or chosen.document_only
    say = output.say if quiet else output.line
    read_record(chosen.folder)
    joined = invocation.run_async(_join(name, chosen, say, stored_uid(invocation, name)))
    if chosen.printing:
        _print_objects(output, joined)
    if chosen.document_only:
        output.yaml(dict(joined.document))
        return exit_codes.DONE
    timeout_s = chosen.timeout_s if chosen.waiting else None
    return _apply(invocation, joined, name, timeout_s, quiet=chosen.printing)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The options of `cluster join`."""

    folder: Path
    kube_context: str
    kubeconfig: Path | None
    labels: tuple[str, ...]
    owner: str
    realm: str
    servers: tuple[str, ...]
    profile: str
    image: str
    manifests: Path | None
    guard: bool | None
    namespaces: tuple[str, ...]
    registries: tuple[str, ...]
    vault_token_file: Path | None
    printing: bool
    document_only: bool
    replace: bool
    waiting: bool
    timeout_s: float

    def __post_init__(self) -> None:
        if self.guard is False and (self.namespaces or self.registries):
            raise click.UsageError(
                "--allow-namespaces and --allow-registries need the guard: leave --no-guard out."
            )
        Allowed(self.namespaces, self.registries, self.image)

    @property
    def is_guarded(self) -> bool:
        if self.guard is None:
            return self.profile != "observe" or bool(self.namespaces or self.registries)
        return self.guard


def stored_uid(invocation: Invocation, name: str) -> str:
    """The UID by which the controller knows a cluster; '' when it knows none, or cannot be asked."""

    async def ask(fleet: Fleet) -> str:
        rows = (await fleet.list("Cluster", names=(name,))).rows
        return str(view.spec(rows[0].document).get("uid") or "") if rows else ""

    try:
        return invocation.run(ask)
    except (BusUnavailable, NotFound, NotPermitted, SettingsInvalid):
        return ""


async def _join(name: str, chosen: Chosen, say: Say, stored: str) -> Joined:
    request = JoinRequest(
        name,
        chosen.realm,
        parse_labels(chosen.labels),
        chosen.owner,
        chosen.servers,
        stored_uid=stored,
        replace=chosen.replace,
    )
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(kube_client(chosen.kubeconfig, chosen.kube_context))
        objects = await _objects(chosen, kube)
        record = read_record(chosen.folder)
        place, vault = record.vault, None
        keys = await stack.enter_async_context(
            signing_keys(chosen.folder, record.fleet, record.signing, place, chosen.vault_token_file)
        )
        if place is not None:
            ca_file = chosen.folder / "vault-ca.crt" if place.ca else None
            vault = await stack.enter_async_context(vault_admin(place, chosen.vault_token_file, ca_file))
        return await join(
            request,
            chosen.folder,
            kube,
            objects,
            keys,
            SystemClock().now(),
            vault=vault,
            push=partial(push_accounts, chosen.folder, clock=SystemClock()),
            write_objects=not chosen.printing,
            say=say,
        )


async def _objects(chosen: Chosen, kube: Kube) -> list[dict[str, Any]]:
    """What the cluster is given for its agent, and the guard around it."""
    objects = agent_manifests(chosen.manifests, profile=chosen.profile)
    if chosen.is_guarded:
        allowed = Allowed(chosen.namespaces, chosen.registries, chosen.image)
        objects += guard_manifests(allowed, await read_guard(kube))
    if chosen.image:
        objects.append(deployment(chosen.image))
    return objects


def _print_objects(output: Output, joined: Joined) -> None:
    output.say(
        "The Secret in this holds the agent's seed: keep it from others, and delete it when it is applied."
    )
    for one in joined.objects:
        output.verbatim("---\n")
        output.yaml(dict(one))


def _apply(invocation: Invocation, joined: Joined, name: str, timeout_s: float | None, *, quiet: bool) -> int:
    output = invocation.output
    result = invocation.run(lambda fleet: _given(fleet, dict(joined.document)))
    for one in result.applied:
        (output.say if quiet else output.line)(f"cluster/{one.name} {one.verb}")
    if timeout_s is None:
        return exit_codes.DONE
    targets: list[Target] = [("Cluster", name, Goal("Connected"))]
    return invocation.run(lambda fleet: wait_for(fleet, targets, timeout_s, output))


async def _given(fleet: Fleet, document: dict[str, Any]) -> ApplyResult:
    """All else is done by now: a controller that is only just starting, or changing, is waited for."""
    clock = SystemClock()
    end = clock.monotonic_s() + _CONTROLLER_S
    while True:
        try:
            return await fleet.apply([document], reason="cluster join")
        except BusUnavailable:
            if clock.monotonic_s() >= end:
                raise
        await clock.sleep(0.3)


@command.command("remove", short_help="take a cluster out of the fleet")
@click.argument("name")
@click.option(
    "--fleet-dir",
    "folder",
    type=_FOLDER,
    envvar="FLEETBUS_FLEET_DIR",
    help="Also take its user from the bus and its mount from Vault; or set FLEETBUS_FLEET_DIR.",
)
@click.option("--realm", default=MAIN, show_default=True)
@click.option("--vault-token-file", type=_FILE, help="Vault's owner's token; or set VAULT_TOKEN.")
@click.option("--reason", default="", help="Kept in the audit record.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_invocation
def remove_command(
    invocation: Invocation,
    name: str,
    folder: Path | None,
    realm: str,
    vault_token_file: Path | None,
    reason: str,
    yes: bool,
) -> int:
    """
    \b
    fleetbus cluster remove prod-us --fleet-dir fleet
    fleetbus cluster remove prod-us --fleet-dir fleet --yes --reason "moved to another fleet"

    What the fleet has put into the cluster stays there; nobody looks after it any more.
    """
    cluster = ClusterId(realm, name)
    confirm(invocation, f"removes cluster {name} from the fleet; its workloads stay.", name, yes=yes)
    output = invocation.output
    answer = invocation.run(lambda fleet: fleet.remove(name, reason=reason))
    output.line(f"cluster/{name} removed{f': {answer.message}' if answer.message else ''}")
    if folder is None:
        output.say(
            "Its user on the bus and its mount in Vault are still there: give --fleet-dir to remove them."
        )
        return exit_codes.DONE
    invocation.run_async(_leave(cluster, folder, vault_token_file, output))
    return exit_codes.DONE


async def _leave(cluster: ClusterId, folder: Path, token_file: Path | None, output: Output) -> None:
    record, clock = read_record(folder), SystemClock()
    place = record.vault
    async with signing_keys(folder, record.fleet, record.signing, place, token_file) as keys:
        push = partial(push_accounts, folder, clock=clock)
        await leave_bus(cluster, folder, keys, clock.now(), push, output.line)
    if place is not None:
        ca_file = folder / "vault-ca.crt" if place.ca else None
        async with vault_admin(place, token_file, ca_file) as vault:
            await leave_vault(cluster, vault, output.line)


def parse_labels(given: tuple[str, ...]) -> dict[str, str]:
    """`KEY=VALUE` each. Raises UsageError."""
    labels: dict[str, str] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--label `{one}`: write KEY=VALUE.")
        labels[key] = value
    return labels
