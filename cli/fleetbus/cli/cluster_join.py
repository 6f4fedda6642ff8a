"""`fleetbus cluster join`: a token that lets one cluster in, and where it goes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from nacl.signing import SigningKey

from fleetbus.cli import exit_codes
from fleetbus.cli.ceremony.agent_pod import NAME, NAMESPACE, deployment
from fleetbus.cli.ceremony.files import read_text
from fleetbus.cli.ceremony.folder import authority_file
from fleetbus.cli.ceremony.guard import Allowed, guard_manifests, read_guard
from fleetbus.cli.ceremony.issue import issue
from fleetbus.cli.ceremony.join import (
    JoinRequest,
    Pinned,
    apply_objects,
    join_token,
    joining_objects,
    read_uid,
)
from fleetbus.cli.ceremony.manifests import PROFILES, agent_manifests
from fleetbus.cli.ceremony.online import push_accounts
from fleetbus.cli.ceremony.realm import ensure_realm
from fleetbus.cli.ceremony.record import read_record
from fleetbus.cli.ceremony.servers import kube_client, signing_keys
from fleetbus.cli.cluster_vault import has_owners_token, wait_enrolled, write_vault
from fleetbus.cli.confirm import confirm
from fleetbus.cli.durations import Duration
from fleetbus.cli.invocation import Invocation, pass_invocation
from fleetbus.cli.known_keys import known_keys
from fleetbus.cli.output import Output
from fleetbus.client import load_context
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.private_files import check_proxy
from fleetbus.schemas.bus_address import parse_addresses
from fleetbus.schemas.bus_proxy import DIRECT, has_login, parse_proxy
from fleetbus.schemas.enrolment import DEFAULT_TOKEN_TTL_S, JoinToken
from fleetbus.schemas.errors import BusUnavailable, SettingsInvalid
from fleetbus.schemas.subjects import MAIN, ClusterId

if TYPE_CHECKING:
    from fleetbus.client import Fleet
    from fleetbus.runtime.ports import Kube

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_CONTROLLER_S = 20.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """The options of `cluster join`."""

    folder: Path | None
    form: str
    kube_context: str
    kubeconfig: Path | None
    labels: tuple[str, ...]
    owner: str
    realm: str
    uid: str
    ttl_s: float
    approve: bool
    servers: tuple[str, ...]
    proxy: str
    profile: str
    image: str
    manifests: Path | None
    guard: bool | None
    namespaces: tuple[str, ...]
    registries: tuple[str, ...]
    vault_token_file: Path | None
    replace: bool
    reason: str
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

    @property
    def into_cluster(self) -> bool:
        return bool(self.kube_context or self.kubeconfig)


@click.command("join", short_help="make a token that lets a cluster in")
@click.argument("name")
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(["token", "manifest"]),
    default="token",
    show_default=True,
    help="The token alone, or all objects of the agent with a Secret that holds it.",
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="What placement selects on.")
@click.option("--owner", default="", help="Team or person to ask.")
@click.option("--realm", default=MAIN, show_default=True)
@click.option("--uid", default="", help="UID of the one kube-system that it is for.")
@click.option(
    "--ttl", "ttl_s", type=Duration(), default=f"{DEFAULT_TOKEN_TTL_S}s", help="How long it is good: 1h."
)
@click.option("--approve", is_flag=True, help="Let the cluster wait for `fleetbus cluster approve`.")
@click.option("--replace", is_flag=True, help="It may take the name from another cluster.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before --replace.")
@click.option("--reason", default="", help="Kept in the audit record.")
@click.option("--kube-context", default="", help="Apply it to this context's cluster and wait.")
@click.option("--kubeconfig", type=_FILE, help="Of that cluster. Default: KUBECONFIG, or ~/.kube/config.")
@click.option(
    "--timeout", "timeout_s", type=Duration(), default="2m", show_default=True, help="Of that wait."
)
@click.option(
    "--vault-token-file", type=_FILE, help="Then write Vault's part with its owner's token; or VAULT_TOKEN."
)
@click.option(
    "--bus-server",
    "servers",
    multiple=True,
    help="tls://HOST:PORT or wss://HOST[:PORT][/PATH], when agents reach the bus elsewhere.",
)
@click.option(
    "--proxy",
    default="",
    metavar="URL|@FILE",
    help="HTTP proxy between agent and bus. One with a login in a FILE of mode 0600.",
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
@click.option(
    "--fleet-dir",
    "folder",
    type=_FOLDER,
    envvar="FLEETBUS_FLEET_DIR",
    help="The folder that `fleetbus init` made: needed for a realm's first cluster; or set FLEETBUS_FLEET_DIR.",
)
@pass_invocation
def command(invocation: Invocation, /, name: str, **options: Any) -> int:
    """
    \b
    fleetbus cluster join prod-us --label env=prod -o manifest --image IMAGE | kubectl apply -f -
    fleetbus cluster join prod-us --kube-context prod-us --image IMAGE
    fleetbus cluster join edge-1 --ttl 24h --approve

    The token is good once, for this name. The agent makes its own key with it; nobody else ever has that key.
    Who gets the token first can take the name: hand it over like a password, by a pipe or a file.
    """
    yes = bool(options.pop("yes"))
    options["proxy"] = read_proxy(options["proxy"])
    chosen = Chosen(**options)
    ClusterId(chosen.realm, name)
    if chosen.replace:
        consequence = f"lets a cluster have all that cluster {name} has: bundles, secrets, Vault's identity."
        confirm(invocation, consequence, name, yes=yes)
    return invocation.run_async(_join(invocation, name, chosen))


async def _join(invocation: Invocation, name: str, chosen: Chosen) -> int:
    output = invocation.output
    request = JoinRequest(
        name,
        chosen.realm,
        parse_labels(chosen.labels),
        chosen.owner,
        chosen.uid,
        chosen.ttl_s,
        approve=chosen.approve,
        replace=chosen.replace,
        reason=chosen.reason,
    )
    pinned = pinned_by(chosen.folder, invocation.context, chosen.servers)
    if chosen.folder is not None:
        await _ensure_realm(chosen.folder, chosen, output)
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(invocation.fleet())
        if chosen.folder is None:
            keys = (await known_keys(fleet, invocation.context)).present
            pinned = replace(pinned, controller_keys=keys)
        if not chosen.into_cluster:
            manifests = await _objects(chosen, None)
            token = await admitted(fleet, request, pinned)
            _hand_over(
                output, token, chosen, [dict(one) for one in joining_objects(manifests, token, chosen.proxy)]
            )
            return exit_codes.DONE
        kube = await stack.enter_async_context(kube_client(chosen.kubeconfig, chosen.kube_context))
        uid = await join_cluster(
            fleet, kube, request, pinned, await _objects(chosen, kube), proxy=chosen.proxy
        )
        output.line(f"the agent's objects are in namespace {NAMESPACE}, with a token")
        if not chosen.image or chosen.approve:
            _say_what_is_next(output, name, chosen)
            return exit_codes.DONE
        row = await wait_enrolled(fleet, name, uid, chosen.timeout_s, SystemClock())
        output.line(f"cluster/{name} enrolled")
        if has_owners_token(chosen.vault_token_file):
            await write_vault(fleet, row, chosen.vault_token_file, output.line)
        else:
            output.say(f"Without secrets until Vault's owner runs: fleetbus cluster vault {name}")
    return exit_codes.DONE


async def _objects(chosen: Chosen, kube: Kube | None) -> list[dict[str, Any]]:
    """What the cluster is given for its agent, and the guard around it as its owner has it there by now."""
    objects = agent_manifests(chosen.manifests, profile=chosen.profile)
    if chosen.is_guarded:
        allowed = Allowed(chosen.namespaces, chosen.registries, chosen.image)
        objects += guard_manifests(allowed, await read_guard(kube)) if kube else guard_manifests(allowed)
    if chosen.image:
        objects.append(deployment(chosen.image))
    return objects


async def join_cluster(
    fleet: Fleet,
    kube: Kube,
    request: JoinRequest,
    pinned: Pinned,
    manifests: list[dict[str, Any]],
    *,
    proxy: str = "",
) -> str:
    """Apply the agent's objects with a token for this very cluster; the UID of its kube-system."""
    uid = await read_uid(kube)
    bound = JoinRequest(**{**{name: getattr(request, name) for name in request.__slots__}, "uid": uid})
    token = await admitted(fleet, bound, pinned)
    await apply_objects(kube, joining_objects(manifests, token, proxy))
    return uid


async def admitted(fleet: Fleet, request: JoinRequest, pinned: Pinned) -> JoinToken:
    """A token whose seed was made here, and which the controller knows by its public key."""
    key, clock = SigningKey.generate(), SystemClock()
    end = clock.monotonic_s() + _CONTROLLER_S
    while True:
        try:
            return join_token(request, key, await fleet.admit_token(request.asked(key)), pinned)
        except BusUnavailable:
            # One that is only just starting, or changing, is waited for.
            if clock.monotonic_s() >= end:
                raise
        await clock.sleep(0.3)


def pinned_by(folder: Path | None, context_name: str, servers: tuple[str, ...]) -> Pinned:
    """What is known here of the fleet: by its folder, else by the context. Raises SettingsInvalid, NotFound."""
    if folder is not None:
        record = read_record(folder)
        authority = "" if record.insecure_dev else read_text(authority_file(folder))
        keys, root = record.signing_keys, record.operator
        return _pinned(servers or record.bus_servers, authority, keys, root, insecure=record.insecure_dev)
    context = load_context(context_name)
    if context.ca_file is None and not context.insecure:
        raise SettingsInvalid(
            "the context names no authority of the bus, which the agent has to be given",
            remedy="give --fleet-dir, or `ca` in the context",
        )
    authority = read_text(context.ca_file) if context.ca_file else ""
    keys, root = context.signing_keys, context.root
    return _pinned(servers or context.servers, authority, keys, root, insecure=context.insecure)


def _pinned(
    servers: tuple[str, ...], authority: str, keys: tuple[str, ...], root: str, *, insecure: bool
) -> Pinned:
    """An agent would refuse what is no address; it is better said here. Raises SettingsInvalid."""
    parse_addresses(servers, insecure=insecure)
    return Pinned(servers, authority, keys, insecure, root)


async def _ensure_realm(folder: Path, chosen: Chosen, output: Output) -> None:
    clock, record = SystemClock(), read_record(folder)
    place, token_file = record.vault, chosen.vault_token_file
    async with signing_keys(folder, record.fleet, record.signing, place, token_file) as keys:
        if await ensure_realm(folder, chosen.realm, keys):
            changed = await issue(folder, keys, clock.now(), output.say)
            await partial(push_accounts, folder, clock=clock)(changed)
            output.say(f"bus told of {', '.join(changed)}")


def _hand_over(output: Output, token: JoinToken, chosen: Chosen, objects: list[dict[str, Any]]) -> None:
    """The token goes to standard output, once; what a person reads goes to the other one."""
    if chosen.form == "manifest":
        for one in objects:
            output.verbatim("---\n")
            output.yaml(one)
    else:
        output.verbatim(token.text() + "\n")
        files = "--from-file=token=FILE" + (" --from-file=bus-proxy=FILE" if chosen.proxy else "")
        output.say(f"Put it into the cluster: kubectl -n {NAMESPACE} create secret generic {NAME} {files}")
    output.say(f"Good once, until {token.expires_at:%Y-%m-%d %H:%M} UTC, for cluster {token.cluster}.")
    _say_what_is_next(output, token.cluster, chosen)


def _say_what_is_next(output: Output, name: str, chosen: Chosen) -> None:
    if chosen.approve:
        output.say(f"When it waits: fleetbus cluster pending; fleetbus cluster approve {name}")
    output.say(f"Look at it: fleetbus get cluster/{name}; its secrets need: fleetbus cluster vault {name}")


def read_proxy(given: str) -> str:
    """A URL without a login, or with `@` the private file that holds one. Raises SettingsInvalid, UsageError."""
    if given.startswith("@"):
        file = Path(given[1:])
        setting = read_text(file).strip()
        check_proxy(setting, file, "--proxy")
        return setting
    if has_login(given):
        raise click.UsageError(
            "--proxy: others can read a command's arguments; put a login into a file: @FILE."
        )
    if given and given != DIRECT:
        parse_proxy(given)
    return given


def parse_labels(given: tuple[str, ...]) -> dict[str, str]:
    """`KEY=VALUE` each. Raises UsageError."""
    labels: dict[str, str] = {}
    for one in given:
        key, equals, value = one.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--label `{one}`: write KEY=VALUE.")
        labels[key] = value
    return labels
