"""A secret is revoked: how long until it is gone from every cluster, and each has signed for it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import datetime

from fleetbus.cli.ceremony.share import share
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.ports import KubeEvent
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas.capabilities.secrets import ASPECT, SecretsState
from fleetbus.schemas.states import State
from tests.bench.documents import secret_binding
from tests.bench.figures import Figure, figure, median
from tests.bench.stand import Stand, id_of, is_ready
from tests.bench.watching import SECRET, reports, watching, within

NAMESPACE = "bench-secrets"
ROUNDS = 5

_TIMEOUT_S = 60.0


async def measure(stand: Stand) -> list[Figure]:
    for cluster in stand.clusters:
        await stand.namespace(cluster, NAMESPACE)
    took = [
        await _revoke(stand, f"revoked-{number}")
        for number in range(stand.rounds(ROUNDS) if stand.short else ROUNDS)
    ]
    gone, receipts = [one[0] for one in took], [one[1] for one in took]
    where = f"{len(stand.clusters)} clusters"
    return [
        figure(f"secret revoked → gone, {where}, p50", median(gone), "s"),
        figure(f"secret revoked → gone, {where}, max", max(gone), "s"),
        figure(f"secret revoked → signed receipts, {where}, p50", median(receipts), "s", aim="< 2"),
        figure(f"secret revoked → signed receipts, {where}, max", max(receipts), "s", aim="< 2"),
    ]


async def _revoke(stand: Stand, name: str) -> tuple[float, float]:
    """Seconds until the last Secret is gone, and until the last receipt is stored."""
    await _bind(stand, name)
    async with AsyncExitStack() as stack:
        gone: list[asyncio.Future[datetime]] = []
        receipts: list[asyncio.Future[datetime]] = []
        for cluster in stand.clusters:
            sight = await stack.enter_async_context(
                watching(stand.kubes[cluster], SECRET, NAMESPACE, metadata_only=True)
            )
            told = await stack.enter_async_context(reports(stand.bus, id_of(cluster), stand.keys[cluster]))
            gone.append(sight.expect(lambda event: _is_gone(event, name)))
            receipts.append(told.expect(lambda state: _is_receipt(state, name)))
        began_at = SystemClock().now()
        await stand.operator.revoke(name, reason="bench")
        gone_at = [await within(one, _TIMEOUT_S, f"{name} is gone") for one in gone]
        receipts_at = [await within(one, _TIMEOUT_S, f"a receipt for {name}") for one in receipts]
    await stand.gone("SecretBinding", name)
    return (max(gone_at) - began_at).total_seconds(), (max(receipts_at) - began_at).total_seconds()


async def _bind(stand: Stand, name: str) -> None:
    """A value in Vault, shared with every cluster, in each of them."""
    vault = stand.fleet.vault
    async with VaultAdmin(vault.address, vault.root_token, vault.ca_file) as admin:
        path = await share(name, admin)
        await admin.put(path, {"password": SystemClock().identifier()})
    await stand.operator.apply([secret_binding(name, stand.clusters, NAMESPACE)], reason="bench")
    await stand.row("SecretBinding", name, is_ready)


def _is_gone(event: KubeEvent, name: str) -> bool:
    return event.type == "DELETED" and (event.object.get("metadata") or {}).get("name") == name


def _is_receipt(state: State, name: str) -> bool:
    """The agent has removed it and has read that it is gone."""
    if state.aspect != ASPECT:
        return False
    found = [one for one in SecretsState.from_json(state.body).secrets if one.name == name]
    return any(one.removed and one.confirmed_at is not None for one in found)
