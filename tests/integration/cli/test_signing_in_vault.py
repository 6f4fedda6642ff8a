"""The keys that sign tokens live in a real Vault's transit engine: they sign, and nobody gets them out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from fleetbus.cli.ceremony.init import FleetPlan, make_fleet
from fleetbus.cli.ceremony.issue import issue
from fleetbus.cli.ceremony.keys import ACCOUNTS, read_credential
from fleetbus.cli.ceremony.online import make_streams, push_accounts
from fleetbus.cli.ceremony.record import read_record
from fleetbus.controller.issuing import Issuer
from fleetbus.controller.settings import load_settings
from fleetbus.local.nats import NatsServer
from fleetbus.local.processes import Processes
from fleetbus.local.vault import OpenBao
from fleetbus.runtime.bus import BusSettings, NatsBus
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.signers import TransitKeys
from fleetbus.runtime.trust import Trust
from fleetbus.runtime.vault_admin import VaultAdmin
from fleetbus.schemas import subjects, vault_policies
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.errors import NotFound, SettingsInvalid, VaultForbidden, VaultUnavailable
from fleetbus.schemas.nats_jwt import verify
from fleetbus.schemas.nkeys import Kind, public_key, seed_of, verify_key
from fleetbus.schemas.subjects import ClusterId
from tests.unit.cli.fleet_of_three import run

CLOCK = SystemClock()


@pytest.fixture
async def keys(openbao: OpenBao) -> AsyncIterator[TransitKeys]:
    prefix = f"test-{CLOCK.identifier()}-"
    async with TransitKeys(openbao.address, openbao.root_token, openbao.ca_file, prefix=prefix) as keys:
        yield keys


async def test_a_key_signs_and_stays(keys: TransitKeys) -> None:
    with pytest.raises(NotFound):
        await keys.find("one", Kind.ACCOUNT)
    signer = await keys.ensure("one", Kind.ACCOUNT)
    again = await keys.ensure("one", Kind.ACCOUNT)
    assert again.public_key == signer.public_key
    assert (await keys.ensure("two", Kind.ACCOUNT)).public_key != signer.public_key
    content = b"x" * 5000
    verify_key(signer.public_key, Kind.ACCOUNT).verify(content, await signer.sign(content))
    assert await signer.sign(content) == await again.sign(content)


async def test_nobody_gets_the_key_out(openbao: OpenBao, keys: TransitKeys) -> None:
    signer = await keys.ensure("one", Kind.ACCOUNT)
    name = f"{keys.prefix}one"
    for path in (f"transit/export/signing-key/{name}", f"transit/backup/{name}"):
        with pytest.raises(
            (VaultForbidden, VaultUnavailable), match=r"not exportable|exporting is disallowed"
        ):
            await openbao.request("GET", path)
    shown = await openbao.request("GET", f"transit/keys/{name}")
    assert (shown["data"]["exportable"], shown["data"]["type"]) == (False, "ed25519")
    assert signer.public_key.startswith("A")


async def test_a_key_of_another_type_is_refused(openbao: OpenBao, keys: TransitKeys) -> None:
    await keys.ensure("one", Kind.ACCOUNT)
    await openbao.request("POST", f"transit/keys/{keys.prefix}other", {"type": "ecdsa-p256"})
    with pytest.raises(SettingsInvalid, match="another type"):
        await keys.find("other", Kind.ACCOUNT)


async def test_a_key_that_was_rotated_in_vault_signs_no_more_in_the_old_ones_name(
    openbao: OpenBao, keys: TransitKeys, tmp_path: Path
) -> None:
    """Its new version is another key, which the accounts do not name: said, not signed with."""
    folder = tmp_path / "fleet"
    plan = FleetPlan("vaulted", ("127.0.0.1",), signing="vault-transit")
    record = await make_fleet(folder, plan, keys, CLOCK.now())
    await openbao.request("POST", f"transit/keys/{keys.prefix}{ACCOUNTS}/rotate", {})
    (folder / "tokens" / "FLEET.jwt").unlink()
    with pytest.raises(SettingsInvalid, match="not the one of the fleet's record"):
        await issue(folder, keys, CLOCK.now())
    assert read_record(folder) == record


async def test_a_token_without_a_policy_signs_nothing(openbao: OpenBao, keys: TransitKeys) -> None:
    await keys.ensure("one", Kind.ACCOUNT)
    async with VaultAdmin(openbao.address, openbao.root_token, openbao.ca_file) as admin:
        poor = await admin.create_token(["nothing"], period_s=600)
    async with TransitKeys(openbao.address, poor, openbao.ca_file, prefix=keys.prefix) as stranger:
        for call in (stranger.find, stranger.ensure):
            with pytest.raises(VaultForbidden):
                await call("one", Kind.ACCOUNT)


async def test_a_fleet_whose_keys_are_in_vault_runs(
    processes: Processes, openbao: OpenBao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_TOKEN", openbao.root_token)
    monkeypatch.setenv("FLEETBUS_CONFIG", str(tmp_path / "config.yaml"))
    folder = tmp_path / "fleet"
    server = NatsServer(processes, folder / "nats", 'include "server.conf"', name="nats-vaulted")
    options = (
        "--name=vaulted", "--host=127.0.0.1", f"--port={server.reserve()}", "--signing=vault-transit",
        f"--vault-address={openbao.address}", f"--vault-ca={openbao.ca_file}",
    )  # fmt: skip
    arguments = ("init", "--out", str(folder))
    ran = await asyncio.to_thread(run, None, *arguments, *options)
    assert ran.code == 0, ran.err
    seeds = {file.name for file in (folder / "keys").glob("*.seed")}
    assert seeds == {"root.seed", "controller-signing.seed"}
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    # Nothing has to be signed, so nobody is asked for anything.
    monkeypatch.delenv("VAULT_TOKEN")
    assert (await asyncio.to_thread(run, None, *arguments)).code == 0
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    refused = await asyncio.to_thread(run, None, *arguments, "--operator", "ana")
    assert refused.code != 0
    monkeypatch.setenv("VAULT_TOKEN", openbao.root_token)
    assert (await asyncio.to_thread(run, None, *arguments, "--operator", "ana")).code == 0
    claims = verify(read_credential(folder, "operator-ana").token)
    assert claims.issuer == read_record(folder).roles["OPERATORS.admin"]
    async with server:
        await make_streams(folder, CLOCK)
        await push_accounts(folder, tuple(read_record(folder).accounts), CLOCK)
        await _a_cluster_is_revoked(folder)
    await _the_controller_makes_members_and_no_accounts(folder, openbao)


async def _a_cluster_is_revoked(folder: Path) -> None:
    """Vault signs the revocation, with its owner's token."""
    record, key = read_record(folder), SigningKey.generate()
    token, ca_file = os.environ["VAULT_TOKEN"], folder / "vault-ca.crt"
    assert record.vault is not None
    prefix = vault_policies.transit_prefix("vaulted")
    async with TransitKeys(record.vault.address, token, ca_file, prefix=prefix) as keys:
        issuer = Issuer(lambda: record.accounts, partial(keys.find, kind=Kind.ACCOUNT), CLOCK)
        user, _ = await issuer.member(ClusterId("main", "c1"), public_key(key))
    settings = BusSettings(
        record.bus_servers,
        Credential(user, seed_of(key)),
        subjects.inbox("main", "c1"),
        "agent",
        Trust(ca_file=folder / "ca.crt"),
    )
    async with NatsBus(settings, CLOCK) as bus:
        await bus.wait_connected()
        ran = await asyncio.to_thread(
            run, None, "cluster", "revoke", "c1", "--fleet-dir", str(folder), "--yes"
        )
        assert (ran.code, ran.err) == (0, ""), ran
        assert "1 key revoked in AGENTS_main and ENROL" in ran.out
        assert not bus.connected


async def _the_controller_makes_members_and_no_accounts(folder: Path, openbao: OpenBao) -> None:
    """With its own token, by the policy that `init` wrote."""
    settings = await asyncio.to_thread(load_settings, folder / "controller.json")
    assert settings.issuing_keys_dir is None
    assert settings.vault_token_file is not None
    token, record = settings.vault_token_file.read_text().strip(), read_record(folder)
    prefix = vault_policies.transit_prefix("vaulted")
    async with TransitKeys(openbao.address, token, openbao.ca_file, prefix=prefix) as keys:
        find = partial(keys.find, kind=Kind.ACCOUNT)
        issuer = Issuer(lambda: settings.accounts, find, CLOCK)
        user, renewer = await issuer.member(ClusterId("main", "c1"), record.controller)
        assert verify(user).issuer == record.roles["AGENTS_main.agent"]
        assert verify(renewer).issuer == record.roles["ENROL.renewer"]
        for name in (ACCOUNTS, "OPERATORS.operator"):
            with pytest.raises(VaultForbidden):
                await keys.find(name, Kind.ACCOUNT)
        with pytest.raises(VaultForbidden):
            await keys.ensure("AGENTS_main.more", Kind.ACCOUNT)


async def test_the_place_of_the_keys_does_not_change_by_itself(tmp_path: Path, keys: TransitKeys) -> None:
    plan = FleetPlan("vaulted", ("127.0.0.1",), signing="vault-transit")
    record = await make_fleet(tmp_path / "fleet", plan, keys, CLOCK.now())
    assert record.signing == "vault-transit"
    again = await make_fleet(tmp_path / "fleet", replace(plan, signing=None), keys, CLOCK.now())
    assert again == record
