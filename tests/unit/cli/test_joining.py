"""`cluster join` and what belongs to it: a token that nobody else could have made, handed over once."""

from __future__ import annotations

import asyncio
import base64
import multiprocessing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from nacl.signing import SigningKey

from fleetbus.agent.enrol import joined_values
from fleetbus.agent.settings import parse_settings
from fleetbus.cli.ceremony import rotation
from fleetbus.cli.ceremony.charter import ensure_charter, read_charter
from fleetbus.cli.ceremony.closing import revoke_keys
from fleetbus.cli.ceremony.folder import read_token
from fleetbus.cli.ceremony.handing import context
from fleetbus.cli.ceremony.init import FleetPlan
from fleetbus.cli.ceremony.issue import issue
from fleetbus.cli.ceremony.join import JoinRequest, Pinned, join_token, joining_objects, secret
from fleetbus.cli.ceremony.keys import FolderKeys, person_file
from fleetbus.cli.ceremony.manifests import agent_manifests
from fleetbus.cli.ceremony.realm import ensure_realm
from fleetbus.cli.ceremony.record import FOR_EVER, changing, read_record, write_record
from fleetbus.cli.ceremony.revocations import revoking
from fleetbus.client.context import load_context, save_context
from fleetbus.controller.settings import load_settings
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.enrolment import CredentialAnswer, JoinToken, VaultPlace, key_of_token
from fleetbus.schemas.enrolment_api import AdmittedTokenResult
from fleetbus.schemas.errors import DocumentInvalid, NotFound, SettingsInvalid
from fleetbus.schemas.nats_jwt import read
from fleetbus.schemas.nkeys import Kind, public_key, seed_of
from fleetbus.schemas.subjects import ClusterId
from tests.founding import NOW, founded
from tests.tokens import user_token
from tests.unit.cli.fleet_of_three import Answers, run

KEY, CONTROLLER = SigningKey(bytes(32)), public_key(SigningKey(b"c" * 32))
ROOT = public_key(SigningKey(b"r" * 32), Kind.OPERATOR)
PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"
PINNED = Pinned(("tls://bus.example.com:4222",), PEM, (CONTROLLER,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    founded(tmp_path / "fleet", FleetPlan("demo", ("127.0.0.1",)))
    return tmp_path / "fleet"


def admitted(**changes: object) -> AdmittedTokenResult:
    given = {
        "id": "t1",
        "jwt": user_token(public_key(KEY), "prod-us"),
        "expiresAt": NOW + timedelta(hours=1),
        "fleet": "demo",
        "epoch": 3,
        "root": ROOT,
        "controllerKeys": (CONTROLLER,),
        "vault": VaultPlace(address="https://vault.example.com:8200", ca=PEM),
    }
    return AdmittedTokenResult.model_validate({**given, **changes})


def token() -> JoinToken:
    return join_token(JoinRequest("prod-us"), KEY, admitted(), PINNED)


def test_a_token_says_what_its_agent_is_to_believe_and_can_be_read_again() -> None:
    made = token()
    assert JoinToken.from_text(made.text() + "\n") == made
    assert key_of_token(made) == public_key(KEY)
    assert made.seed not in repr(made)
    asked = JoinRequest("prod-us", ttl_s=60, approve=True).asked(KEY)
    assert (asked.key, asked.ttl_s, asked.approve) == (public_key(KEY), 60, True)
    assert seed_of(KEY) not in str(asked.as_json())


def test_a_controller_that_is_not_the_known_one_makes_no_token() -> None:
    other = public_key(SigningKey(b"o" * 32))
    with pytest.raises(SettingsInvalid, match="another signing key"):
        join_token(JoinRequest("prod-us"), KEY, admitted(controllerKeys=(other,)), PINNED)
    with pytest.raises(DocumentInvalid):
        JoinRequest("7")


def test_a_context_of_before_a_change_of_keys_learns_them_from_the_root(folder: Path) -> None:
    """And keeps them: the next command needs no bus for that, and takes no older word."""
    record = read_record(folder)
    save_context(context(folder, record, "demo", "admin", person_file(folder, record, "admin")))
    before = record.signing_keys
    new = rotation.prepare(folder)
    asyncio.run(ensure_charter(folder, NOW))
    given = admitted(controllerKeys=(*before, new), root=record.operator)
    told = Answers(admitted=given, charter=read_charter(folder, record))
    assert run(replace(told, charter=None), "cluster", "join", "prod-us").code == 1
    ran = run(told, "cluster", "join", "prod-us")
    assert ran.code == 0, ran.err
    assert JoinToken.from_text(ran.out).controller_keys == (*before, new) == load_context().signing_keys


def test_another_root_makes_no_token() -> None:
    """The root may change every other key that the agent believes."""
    other = public_key(SigningKey(b"o" * 32), Kind.OPERATOR)
    with pytest.raises(SettingsInvalid, match="another root"):
        join_token(JoinRequest("prod-us"), KEY, admitted(root=other), replace(PINNED, root=ROOT))


@pytest.mark.parametrize("text", ["", "%%%", "abc", base64.urlsafe_b64encode(b"{}").decode(), "a" * 70_000])
def test_what_is_no_token_is_refused_and_never_quoted(text: str) -> None:
    with pytest.raises(SettingsInvalid) as raised:
        JoinToken.from_text(text)
    assert len(text) < 3 or text not in raised.value.sentence()


def test_the_agent_reads_what_it_becomes() -> None:
    made = token()
    user = user_token(public_key(KEY), "prod-us")
    answer = CredentialAnswer(nonce="n", outcome="admitted", user=user, renewer=user)
    settings = parse_settings(joined_values(made, "uid-1", seed_of(KEY), answer))
    assert settings.identity.cluster == ClusterId("main", "prod-us")
    assert (settings.identity.fleet, settings.identity.uid, settings.epoch) == ("demo", "uid-1", 3)
    assert settings.controller_keys == {CONTROLLER}
    assert settings.renewer == user
    assert settings.vault is not None
    assert (settings.vault.mount, settings.vault.role) == ("fleet_main_prod-us", "fleetbus-agent")


def test_the_objects_hold_the_token_and_no_key_of_the_cluster() -> None:
    objects = joining_objects(agent_manifests(), token())
    kinds = [one["kind"] for one in objects]
    assert kinds.index("Namespace") < kinds.index("Secret")
    assert secret(token())["data"].keys() == {"token"}


def test_the_command_prints_it_once_and_what_is_next(folder: Path) -> None:
    record = read_record(folder)
    answers = Answers(admitted=admitted(controllerKeys=record.signing_keys, root=record.operator))
    ran = run(answers, "cluster", "join", "prod-us", "--fleet-dir", str(folder), "--label", "env=prod")
    assert ran.code == 0, ran.err
    made = JoinToken.from_text(ran.out)
    assert (made.cluster, made.root) == ("prod-us", record.operator)
    assert ran.out.strip() not in ran.err
    assert "Good once, until 2026-11-24 13:00 UTC" in ran.err
    (verb, asked) = answers.asked[0]
    assert (verb, asked.labels, asked.key) == ("token", {"env": "prod"}, key_of_token(made))
    ran = run(answers, "cluster", "join", "prod-us", "--fleet-dir", str(folder), "-o", "manifest")
    objects = [one for one in yaml.safe_load_all(ran.out) if one]
    held = next(one for one in objects if one["kind"] == "Secret")["data"]["token"]
    assert JoinToken.from_text(base64.b64decode(held).decode()).cluster == "prod-us"
    ran = run(answers, "cluster", "join", "prod-us", "--fleet-dir", str(folder), "--replace")
    assert (ran.code, "needs --yes" in ran.err) == (64, True)


def test_the_way_through_a_proxy_goes_into_the_secret_and_its_login_onto_no_command_line(
    folder: Path,
) -> None:
    record = read_record(folder)
    answers = Answers(admitted=admitted(controllerKeys=record.signing_keys, root=record.operator))
    join = ("cluster", "join", "prod-us", "--fleet-dir", str(folder), "-o", "manifest")
    ran = run(answers, *join, "--proxy", "http://ana:hunter2@proxy:3128")
    assert (ran.code, "@FILE" in ran.err, "hunter2" in ran.err) == (64, True, False)
    file = folder / "proxy"
    file.write_text("http://ana:hunter2@proxy:3128\n")
    file.chmod(0o644)
    ran = run(answers, *join, "--proxy", f"@{file}")
    assert (ran.code, "others may read" in ran.err, "hunter2" in ran.err) == (1, True, False)
    file.chmod(0o600)
    ran = run(answers, *join, "--proxy", f"@{file}")
    assert ran.code == 0, ran.err
    data = next(one for one in yaml.safe_load_all(ran.out) if one and one["kind"] == "Secret")["data"]
    assert base64.b64decode(data["bus-proxy"]) == b"http://ana:hunter2@proxy:3128"
    assert run(answers, *join, "--proxy", "socks5://proxy").code == 1


@pytest.mark.parametrize("server", ["nats://bus.example.com", "bus.example.com:4222", "wss://bus/a b"])
def test_an_address_that_the_agent_would_refuse_is_refused_here(folder: Path, server: str) -> None:
    ran = run(Answers(), "cluster", "join", "prod-us", "--fleet-dir", str(folder), "--bus-server", server)
    assert (ran.code, "FB6002" in ran.err) == (1, True)


async def test_a_realms_account_is_made_before_its_first_cluster_joins(folder: Path) -> None:
    keys = FolderKeys(folder)
    assert not await ensure_realm(folder, "main", keys)
    assert await ensure_realm(folder, "edge", keys)
    # In the order in which a running bus has to learn of them: who comes there is told by SYS to FLEET.
    assert await issue(folder, keys, NOW) == ("SYS", "FLEET", "AGENTS_edge")
    account = read(read_token(folder, "AGENTS_edge"))
    assert all(".main." not in one["subject"] for one in account.body["imports"])
    settings = await asyncio.to_thread(load_settings, folder / "controller.json")
    assert settings.accounts["AGENTS_edge"] == account.subject
    assert not await ensure_realm(folder, "edge", keys)


async def test_who_leaves_is_revoked_where_it_works_and_where_it_renews(folder: Path) -> None:
    nkey, keys, accounts = public_key(KEY), FolderKeys(folder), ("AGENTS_main", "ENROL")
    for _ in range(2):
        await revoke_keys(folder, accounts, (nkey,), keys, SystemClock())
        for account in accounts:
            assert read(read_token(folder, account)).body["revocations"] == {nkey: FOR_EVER}


def _revoke(folder: Path, start: int) -> None:
    for number in range(start, start + 10):
        with changing(folder):
            record = read_record(folder)
            write_record(folder, revoking(record, ("AGENTS_main",), [f"U{number}"], number + 1))


def test_processes_that_write_at_once_lose_nothing(folder: Path) -> None:
    forked = multiprocessing.get_context("fork")
    writers = [forked.Process(target=_revoke, args=(folder, start)) for start in (0, 10, 20)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(20)
    assert [one.exitcode for one in writers] == [0, 0, 0]
    assert len(read_record(folder).revoked) == 30
    with pytest.raises(NotFound), changing(folder / "nowhere"):
        pass
