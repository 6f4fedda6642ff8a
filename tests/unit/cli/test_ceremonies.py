"""A fleet's folder: made once, changed by nothing that was done already, keys in files of mode 0600."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from fleetbus.cli.ceremony.certificates import RENEWED_BEFORE
from fleetbus.cli.ceremony.folder import configuration, credential_file
from fleetbus.cli.ceremony.init import FleetPlan, write_controller
from fleetbus.cli.ceremony.join import in_order
from fleetbus.cli.ceremony.keys import person_file, read_credential
from fleetbus.cli.ceremony.manifests import agent_manifests
from fleetbus.cli.ceremony.record import Node, read_record
from fleetbus.cli.init import parse_node
from fleetbus.client import load_context
from fleetbus.controller.settings import load_settings
from fleetbus.controller.settings import read_credential as controllers_credential
from fleetbus.local.nats import server_path
from fleetbus.runtime.certificates import (
    Issued,
    expires_at,
    fits,
    is_for_key,
    is_issued_by,
    make_authority,
)
from fleetbus.schemas.enrolment import VaultPlace
from fleetbus.schemas.errors import (
    AlreadyExists,
    DocumentInvalid,
    NotFound,
    NotPossible,
    ObjectInvalid,
    SettingsInvalid,
)
from fleetbus.schemas.limits import LEAST_PEOPLE
from fleetbus.schemas.nats_jwt import read
from fleetbus.schemas.nkeys import Kind, key_of_seed, public_key, seed_of, verify_key
from fleetbus.schemas.roles import granted_types, told_role
from tests.founding import NOW, founded
from tests.unit.cli.fleet_of_three import run

PLAN = FleetPlan("demo", ("127.0.0.1", "localhost"), 4222)
PEOPLE = tuple(
    f"OPERATORS.{role}"
    for role in ("viewer", "operator", "approver", "admin", "subscriber", "subscriber-of-types")
)
ROLES = ("SYS.system", "FLEET.controller", *PEOPLE, "AGENTS_main.agent", "ENROL.token", "ENROL.renewer")


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_fleet_is_made_once(tmp_path: Path) -> None:
    said: list[str] = []
    record = founded(tmp_path, PLAN, said.append)
    before = _files(tmp_path)
    assert set(before) == {
        "fleet.json",
        "ca.crt",
        "ca.key",
        "controller.json",
        "charter",
        "nats/server.conf",
        "nats/server.crt",
        "nats/server.key",
        "nats/ca.crt",
        "keys/root.seed",
        "keys/accounts.seed",
        "keys/controller-signing.seed",
        *(f"keys/{role}.seed" for role in ROLES),
        *(f"keys/{who}.creds" for who in ("system", "controller", "operator-admin", "subscriber-events")),
        *(f"tokens/{name}.jwt" for name in ("operator", "SYS", "FLEET", "OPERATORS", "ENROL", "AGENTS_main")),
    }
    assert said
    said.clear()
    assert founded(tmp_path, PLAN, said.append) == record == read_record(tmp_path)
    assert _files(tmp_path) == before
    assert said == []


def test_what_is_secret_is_for_its_owner_and_not_in_the_record(tmp_path: Path) -> None:
    founded(tmp_path, PLAN)
    secrets = [*(tmp_path / "keys").iterdir(), tmp_path / "ca.key", tmp_path / "nats" / "server.key"]
    assert [file.name for file in secrets if file.stat().st_mode & 0o077] == []
    public = (tmp_path / "fleet.json").read_text() + (tmp_path / "nats" / "server.conf").read_text()
    public += "".join(file.read_text() for file in (tmp_path / "tokens").iterdir())
    for file in (tmp_path / "keys").iterdir():
        seed = re.search(r"\bS[OAU][A-Z2-7]{56}\b", file.read_text())
        assert seed is not None
        assert seed[0] not in public
    assert "PRIVATE" not in public


def _taken(file: Path) -> None:
    """By nats-server, started where the file lies."""
    asked = [str(server_path()), "-t", "-c", str(file)]
    done = subprocess.run(asked, cwd=file.parent, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr


def test_the_server_takes_the_configuration(tmp_path: Path) -> None:
    record = founded(tmp_path, PLAN)
    _taken(tmp_path / "nats" / "server.conf")
    written = (tmp_path / "nats" / "server.conf").read_text()
    assert all(key in written for key in record.accounts.values())
    with pytest.raises(SettingsInvalid):
        configuration(tmp_path / 'a"b', record)


def test_each_of_three_servers_takes_its_configuration(tmp_path: Path) -> None:
    nodes = tuple(Node(name=name, host=f"{name}.example.com", port=4222) for name in "abc")
    plan = FleetPlan("demo", nodes=nodes)
    record = founded(tmp_path, plan)
    before = _files(tmp_path)
    assert record.bus_servers[0] == "tls://a.example.com:4222"
    for one in nodes:
        _taken(tmp_path / "nats" / one.name / "server.conf")
    assert founded(tmp_path, plan) == founded(tmp_path, FleetPlan("demo")) == record
    assert _files(tmp_path) == before
    with pytest.raises(AlreadyExists):
        founded(tmp_path, FleetPlan("demo", nodes=(*nodes[:2], Node(name="d", host="d", port=4222))))
    with pytest.raises(SettingsInvalid, match="three or five"):
        founded(tmp_path / "two", FleetPlan("demo", nodes=nodes[:2]))


def test_the_roots_key_is_somewhere_else_and_is_not_needed_again(tmp_path: Path) -> None:
    folder, root = tmp_path / "fleet", tmp_path / "safe" / "root.seed"
    founded(folder, PLAN, root_key=root)
    assert root.stat().st_mode & 0o077 == 0
    assert not (folder / "keys" / "root.seed").exists()
    root.rename(tmp_path / "away")
    founded(folder, FleetPlan("demo", operators=("ana",)))
    (folder / "tokens" / "operator.jwt").unlink()
    with pytest.raises(NotFound, match="needs the root's key"):
        founded(folder, FleetPlan("demo"))
    founded(folder, FleetPlan("demo"), root_key=tmp_path / "away")
    with pytest.raises(NotFound):
        founded(folder, FleetPlan("demo"), root_key=root)


def test_the_roots_key_can_be_taken_out_later(tmp_path: Path) -> None:
    folder, root = tmp_path / "fleet", tmp_path / "root.seed"
    founded(folder, PLAN)
    inside = folder / "keys" / "root.seed"
    content, tokens = inside.read_text(), _files(folder / "tokens")
    founded(folder, PLAN, root_key=root)
    assert (root.read_text(), inside.exists()) == (content, False)
    assert _files(folder / "tokens") == tokens
    root.write_text(seed_of(SigningKey.generate(), Kind.OPERATOR))
    with pytest.raises(SettingsInvalid, match="not this fleet's root"):
        founded(folder, PLAN, root_key=root)


def test_a_changed_contract_gives_later_tokens_and_keeps_keys(tmp_path: Path) -> None:
    """Eight people more than there is room for change the limits of their account, and only its token."""
    founded(tmp_path, PLAN)
    before = _files(tmp_path / "tokens")
    names = tuple(f"p{number}" for number in range(LEAST_PEOPLE))
    founded(tmp_path, FleetPlan("demo", operators=names))
    after = _files(tmp_path / "tokens")
    assert {name for name in after if after[name] != before[name]} == {"OPERATORS.jwt"}
    old, new = (read(one["OPERATORS.jwt"].decode()) for one in (before, after))
    assert new.issued_at == old.issued_at + 1
    assert new.body["limits"]["conn"] > old.body["limits"]["conn"]
    assert new.body["signing_keys"] == old.body["signing_keys"]
    assert after["OPERATORS.jwt"].decode().strip() in (tmp_path / "nats" / "server.conf").read_text()


def test_a_missing_token_is_made_again_and_a_signing_key_that_is_another_refused(tmp_path: Path) -> None:
    founded(tmp_path, PLAN)
    before = _files(tmp_path)
    (tmp_path / "tokens" / "FLEET.jwt").write_text("nonsense")
    founded(tmp_path, PLAN)
    assert _files(tmp_path) == before
    (tmp_path / "keys" / "accounts.seed").write_text(seed_of(SigningKey.generate(), Kind.OPERATOR))
    (tmp_path / "tokens" / "FLEET.jwt").unlink()
    with pytest.raises(SettingsInvalid, match="not the one of the fleet's record"):
        founded(tmp_path, PLAN)


def test_other_hosts_get_another_certificate_and_nothing_else(tmp_path: Path) -> None:
    founded(tmp_path, PLAN)
    before = _files(tmp_path)
    founded(tmp_path, FleetPlan("demo", ("bus.example.com",)))
    changed = {name for name, content in _files(tmp_path).items() if before.get(name) != content}
    assert changed == {"fleet.json", "controller.json", "nats/server.crt", "nats/server.key"}


def test_people_are_added_and_stay(tmp_path: Path) -> None:
    founded(tmp_path, PLAN)
    record = founded(tmp_path, FleetPlan("demo", PLAN.hosts, operators=("ana",)))
    assert [(one.role, one.name) for one in record.people] == [
        ("admin", "admin"),
        ("admin", "ana"),
        ("subscriber", "events"),
    ]
    assert person_file(tmp_path, record, "ana") == credential_file(tmp_path, "operator-ana")
    operators = json.loads((tmp_path / "controller.json").read_text())["operators"]
    assert sorted(operators.values()) == ["admin", "ana"]
    with pytest.raises(NotFound):
        person_file(tmp_path, record, "eve")


def test_other_types_are_another_key_and_the_old_one_is_revoked(tmp_path: Path) -> None:
    plan = FleetPlan("demo", subscribers=("team",), types={"team": ("bundle.*", "cluster.connected")})
    before = founded(tmp_path, replace(plan, hosts=PLAN.hosts))
    claims = read_credential(tmp_path, "subscriber-team").claims
    assert claims.issuer == before.roles["OPERATORS.subscriber-of-types"]
    assert granted_types(claims) == ("bundle.>", "cluster.connected")
    assert founded(tmp_path, FleetPlan("demo", subscribers=("team",))) == before
    after = founded(tmp_path, replace(plan, types={"team": ("bundle.*",)}))
    assert before.revoked == ()
    assert [one.nkey for one in after.revoked] == [claims.subject]
    assert granted_types(read_credential(tmp_path, "subscriber-team").claims) == ("bundle.>",)
    with pytest.raises(DocumentInvalid):
        founded(tmp_path, replace(plan, types={"team": ("bundle.>",)}))


def test_another_role_is_another_key_and_the_old_one_is_revoked(tmp_path: Path) -> None:
    """A token says its role for ever: what was written down with the old key must count no more."""
    before = founded(tmp_path, replace(PLAN, operators=("ana", "ben"), roles={"ana": "operator"}))
    known = {one.name: one for one in before.people}
    after = founded(tmp_path, FleetPlan("demo", operators=("ana",), roles={"ana": "viewer"}))
    there = {one.name: one for one in after.people}
    assert [there[name].role for name in ("ana", "ben")] == ["viewer", "admin"]
    assert there["ben"] == known["ben"]
    assert after.revoked_at("OPERATORS", known["ana"].nkey) == int(NOW.timestamp())
    assert there["ana"].nkey != known["ana"].nkey
    claims = read_credential(tmp_path, "operator-ana").claims
    assert (claims.issuer, claims.subject) == (after.roles["OPERATORS.viewer"], there["ana"].nkey)
    assert told_role(claims) == "viewer"
    settings = json.loads((tmp_path / "controller.json").read_text())
    assert known["ana"].nkey not in settings["operators"]
    assert settings["roleKeys"][claims.issuer] == "viewer"
    assert founded(tmp_path, FleetPlan("demo", operators=("ana",))) == after


def test_the_controller_reads_its_settings(tmp_path: Path) -> None:
    record = founded(tmp_path, PLAN)
    settings = load_settings(tmp_path / "controller.json")
    assert (settings.fleet, settings.epoch, settings.bus_servers) == ("demo", 1, record.bus_servers)
    assert controllers_credential(settings.bus_credential_file).nkey == record.controller
    assert public_key(key_of_seed(settings.signing_seed_file.read_text())) in record.signing_keys


def test_wrong_names_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentInvalid):
        founded(tmp_path, FleetPlan("7", ("h",)))
    with pytest.raises(SettingsInvalid):
        founded(tmp_path, FleetPlan("demo", ()))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFound, match="no fleet"):
        read_record(tmp_path)
    founded(tmp_path, PLAN)
    with pytest.raises(AlreadyExists):
        founded(tmp_path, FleetPlan("other", ("h",)))
    (tmp_path / "fleet.json").write_text("{")
    with pytest.raises(SettingsInvalid, match="damaged"):
        read_record(tmp_path)


def test_manifests_come_in_the_order_in_which_they_can_be_applied(tmp_path: Path) -> None:
    kinds = ["Deployment", "ClusterRoleBinding", "ServiceAccount", "Namespace", "CustomResourceDefinition"]
    text = "---\n".join(f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: a}}\n" for kind in kinds)
    (tmp_path / "agent.yaml").write_text(text)
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\nresources: [agent.yaml]\n")
    found = [one["kind"] for one in in_order(agent_manifests(tmp_path))]
    assert found == [
        "Namespace",
        "CustomResourceDefinition",
        "ServiceAccount",
        "ClusterRoleBinding",
        "Deployment",
    ]
    (tmp_path / "agent.yaml").write_text("a: b: c")
    with pytest.raises(ObjectInvalid, match="not YAML"):
        agent_manifests(tmp_path)


def test_init_writes_the_operators_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETBUS_CONFIG", str(tmp_path / "config.yaml"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    arguments = ("init", "--out", str(tmp_path / "fleet"), "--name", "demo", "--host", "127.0.0.1")
    ran = run(None, *arguments)
    assert ran.code == 0, ran
    context = load_context()
    assert (context.name, context.user, context.servers) == ("demo", "admin", ("tls://127.0.0.1:4222",))
    people = read_record(tmp_path / "fleet").people
    assert context.credential().nkey == next(one.nkey for one in people if one.name == "admin")
    again = run(None, *arguments)
    assert again.out == f"fleet/demo ready in {tmp_path / 'fleet'}\n"
    assert run(None, "context", "list", "-o", "name").out == "demo\n"
    assert run(None, "context", "use", "nope").code == 1


def test_joining_without_a_fleet_says_so(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    arguments = ("--fleet-dir", str(tmp_path), "--kubeconfig", str(kubeconfig))
    assert "no fleet was made" in run(None, "cluster", "join", "dev-eu", *arguments).err
    ran = run(None, "cluster", "join", "7", *arguments)
    assert (ran.code, "`7` cannot name a cluster" in ran.err) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_init_again_changes_only_what_is_said(tmp_path: Path) -> None:
    first = FleetPlan("demo", ("127.0.0.1",), 4333, listen_host="127.0.0.1", operators=("ana",))
    record = founded(tmp_path, first)
    file = tmp_path / "controller.json"
    added = {"credentialsDir": "git", "documentsDir": "wanted", "workDir": "/var/cache/fleetbus"}
    theirs = {"UKEY": "ben", record.people[0].nkey: "ana"}
    file.write_text(json.dumps(json.loads(file.read_text()) | added | {"operators": theirs}))
    before = _files(tmp_path)
    assert founded(tmp_path, FleetPlan("demo")) == record
    assert _files(tmp_path) == before

    changed = founded(tmp_path, FleetPlan("demo", ("bus.example.com",), operators=("eve",)))
    assert (changed.listen, changed.bus_servers) == ("127.0.0.1:4333", ("tls://bus.example.com:4333",))
    settings = json.loads(file.read_text())
    assert {key: settings[key] for key in added} == added
    assert settings["busServers"] == ["tls://bus.example.com:4333"]
    assert sorted(settings["operators"].values()) == ["ana", "ben", "eve"]

    place = VaultPlace(address="https://vault:8200", ca="PEM")
    with_vault = changed.model_copy(update={"vault": place})
    assert write_controller(tmp_path, with_vault, changed)
    assert json.loads(file.read_text())["vaultCaFile"] == "vault-ca.crt"
    trusted = changed.model_copy(update={"vault": place.model_copy(update={"ca": ""})})
    assert write_controller(tmp_path, trusted, with_vault)
    assert "vaultCaFile" not in json.loads(file.read_text())
    file.write_text("fleet: demo\n")
    with pytest.raises(SettingsInvalid, match="JSON"):
        founded(tmp_path, FleetPlan("demo"))


def test_init_again_keeps_port_and_operator(tmp_path: Path) -> None:
    folder = str(tmp_path / "fleet")
    first = (
        "--name",
        "demo",
        "--host",
        "127.0.0.1",
        "--port",
        "4333",
        "--operator",
        "zed",
        "--operator",
        "ana",
    )
    assert run(None, "init", "--out", folder, *first).code == 0
    before = _files(tmp_path)
    again = run(None, "init", "--out", folder)
    assert (again.code, again.out) == (0, f"fleet/demo ready in {folder}\n")
    assert _files(tmp_path) == before
    assert (load_context().user, load_context().servers) == ("zed", ("tls://127.0.0.1:4333",))


@pytest.mark.parametrize(
    ("given", "host", "port"),
    [("a=h", "h", 4333), ("a=h:1", "h", 1), ("a=[::1]", "::1", 4333), ("a=[::1]:5", "::1", 5)],
)
def test_a_node_is_a_name_and_an_address(given: str, host: str, port: int) -> None:
    assert parse_node(given, 4333) == Node(name="a", host=host, port=port)


@pytest.mark.parametrize("given", ["", "a", "a=", "=h", "a=h:", "a=h:x", "a=h:0", "a=h:70000"])
def test_what_is_no_node_is_a_usage_error(tmp_path: Path, given: str) -> None:
    ran = run(None, "init", "--out", str(tmp_path / "fleet"), "--name", "demo", "--node", given)
    assert (ran.code, (tmp_path / "fleet").exists()) == (64, False)


def test_init_makes_a_bus_of_three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETBUS_CONFIG", str(tmp_path / "config.yaml"))
    folder = tmp_path / "fleet"
    nodes = [f"--node={name}={name}.example.com" for name in "abc"]
    ran = run(None, "init", "--out", str(folder), "--name", "demo", *nodes)
    assert ran.code == 0, ran.err
    assert sorted(one.name for one in (folder / "nats").iterdir()) == ["a", "b", "c"]
    assert load_context().servers == tuple(f"tls://{name}.example.com:4222" for name in "abc")
    before = _files(folder)
    assert run(None, "init", "--out", str(folder)).code == 0
    assert _files(folder) == before


@pytest.mark.parametrize("content", ["another key", "damaged"])
def test_a_certificate_that_does_not_fit_its_key_is_made_again(tmp_path: Path, content: str) -> None:
    """As when the command was killed between the two files."""
    founded(tmp_path, PLAN)
    key, certificate = tmp_path / "nats" / "server.key", tmp_path / "nats" / "server.crt"
    if content == "damaged":
        certificate.write_text("-----BEGIN CERTIFICATE-----\nAA")
    else:
        key.write_bytes(make_authority("x", datetime.now(UTC)).key)
    founded(tmp_path, PLAN)
    assert fits(Issued(certificate.read_bytes(), key.read_bytes()))


def test_certificates_that_end_soon_are_made_again_and_no_others(tmp_path: Path) -> None:
    said: list[str] = []
    founded(tmp_path, PLAN)
    certificate, authority = tmp_path / "nats" / "server.crt", (tmp_path / "ca.crt").read_bytes()
    ends_at = expires_at(certificate.read_bytes())
    founded(tmp_path, PLAN, said.append, now=ends_at - RENEWED_BEFORE - timedelta(hours=1))
    assert (said, expires_at(certificate.read_bytes())) == ([], ends_at)
    founded(tmp_path, PLAN, said.append, now=ends_at - RENEWED_BEFORE + timedelta(hours=1))
    assert said == ["nats/server.crt made for 127.0.0.1, localhost"]
    assert expires_at(certificate.read_bytes()) > ends_at
    assert (tmp_path / "ca.crt").read_bytes() == authority


def test_plaintext_is_for_loopback_and_for_a_folder_of_its_own(tmp_path: Path) -> None:
    plan = FleetPlan("demo", ("127.0.0.1",), 4222, insecure_dev=True)
    for wrong in (
        replace(plan, hosts=("bus.example.com",)),
        replace(plan, listen_host="0.0.0.0"),
        replace(plan, nodes=tuple(Node(name=name, host="127.0.0.1", port=4222) for name in "abc")),
    ):
        with pytest.raises(SettingsInvalid, match="loopback, nowhere else"):
            founded(tmp_path / "wrong", wrong)
    assert not (tmp_path / "wrong" / "fleet.json").exists()
    folder = tmp_path / "plain"
    record = founded(folder, plan)
    assert (record.bus_servers, record.listen) == (("nats://127.0.0.1:4222",), "127.0.0.1:4222")
    written = (folder / "nats" / "server.conf").read_text()
    assert written.startswith("# INSECURE")
    assert "tls {" not in written
    _taken(folder / "nats" / "server.conf")
    assert not list(folder.rglob("*.crt"))
    assert load_settings(folder / "controller.json").bus_insecure_dev
    assert founded(folder, FleetPlan("demo")) == record
    with pytest.raises(SettingsInvalid, match="loopback"):
        founded(folder, FleetPlan("demo", ("bus.example.com",)))
    founded(tmp_path / "secure", PLAN)
    with pytest.raises(AlreadyExists, match="with TLS"):
        founded(tmp_path / "secure", plan)


def test_websockets_are_taken_where_it_is_said_and_told_after_the_others(tmp_path: Path) -> None:
    nodes = tuple(Node(name=name, host=f"{name}.example.com", port=4222) for name in "abc")
    for folder, plan in (
        ("one", replace(PLAN, websocket_port=443)),
        ("three", FleetPlan("demo", nodes=nodes)),
    ):
        founded(tmp_path / folder, plan)
    record = founded(tmp_path / "one", PLAN)
    assert record.bus_servers[-1] == "wss://localhost:443"
    _taken(tmp_path / "one" / "nats" / "server.conf")
    record = founded(tmp_path / "three", FleetPlan("demo", websocket_port=8443))
    assert [one.partition(":")[0] for one in record.bus_servers] == ["tls"] * 3 + ["wss"] * 3
    for one in nodes:
        _taken(tmp_path / "three" / "nats" / one.name / "server.conf")
    with pytest.raises(SettingsInvalid, match="without WebSockets"):
        founded(tmp_path / "plain", FleetPlan("demo", ("127.0.0.1",), insecure_dev=True, websocket_port=443))


def test_a_proxys_login_stands_in_a_private_file_of_the_controllers_only(tmp_path: Path) -> None:
    founded(tmp_path, PLAN)
    file = tmp_path / "controller.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "busProxy": "http://ana:hunter2@proxy:3128"}))
    with pytest.raises(SettingsInvalid, match="others may read this file") as refused:
        load_settings(file)
    assert "hunter2" not in refused.value.sentence()
    file.chmod(0o600)
    settings = load_settings(file)
    assert (settings.bus_proxy, "hunter2" in repr(settings)) == ("http://ana:hunter2@proxy:3128", False)
    founded(tmp_path, FleetPlan("demo", operators=("ana",)))
    assert file.stat().st_mode & 0o077 == 0
    assert load_settings(file).bus_proxy == settings.bus_proxy


def test_certificates_of_clients_are_made_beside_their_credentials_by_an_authority_of_their_own(
    tmp_path: Path,
) -> None:
    plan = replace(PLAN, mtls="required", websocket_port=443)
    record = founded(tmp_path, plan)
    _taken(tmp_path / "nats" / "server.conf")
    written = (tmp_path / "nats" / "server.conf").read_text()
    assert written.count("verify: true") == 2
    assert written.count('clients-ca.crt"') == 2
    clients, servers = (tmp_path / "clients-ca.crt").read_bytes(), (tmp_path / "ca.crt").read_bytes()
    for name in ("system", "controller", "operator-admin", "subscriber-events"):
        made = (tmp_path / "keys" / f"{name}.crt").read_bytes()
        assert (is_issued_by(made, clients), is_issued_by(made, servers)) == (True, False)
        assert is_for_key(made, bytes(verify_key(read_credential(tmp_path, name).nkey)))
        assert (tmp_path / "keys" / f"{name}.key").stat().st_mode & 0o077 == 0
    assert (tmp_path / "clients-ca.key").stat().st_mode & 0o077 == 0
    assert not (tmp_path / "nats" / "clients-ca.key").exists()
    settings = load_settings(tmp_path / "controller.json")
    assert settings.bus_certificate_file == tmp_path / "keys" / "controller.crt"
    assert settings.client_authority_key_file == tmp_path / "clients-ca.key"
    before = _files(tmp_path)
    assert founded(tmp_path, FleetPlan("demo")) == record
    assert _files(tmp_path) == before


def test_certificates_of_clients_follow_keys_and_time(tmp_path: Path) -> None:
    said: list[str] = []
    founded(tmp_path, replace(PLAN, mtls="offered", operators=("ana",)))
    assert "verify" not in (tmp_path / "nats" / "server.conf").read_text()
    founded(tmp_path, FleetPlan("demo", operators=("ana",), roles={"ana": "viewer"}), said.append)
    assert [line for line in said if "crt" in line] == ["keys/operator-ana.crt made"]
    said.clear()
    founded(tmp_path, FleetPlan("demo", mtls="required"), said.append, now=NOW + timedelta(days=310))
    assert {line for line in said if "keys/" in line} == {
        f"keys/{name}.crt made" for name in ("system", "controller", "operator-ana", "subscriber-events")
    }
    founded(tmp_path / "other", PLAN)
    with pytest.raises(NotPossible, match="no certificates yet"):
        founded(tmp_path / "other", FleetPlan("demo", mtls="required"))


def test_the_context_names_the_certificate(tmp_path: Path) -> None:
    ran = run(None, "init", "--out", str(tmp_path), "--name", "demo", "--host", "h", "--mtls", "required")
    assert ran.code == 0, ran.err
    assert load_context().certificate_file == tmp_path / "keys" / "operator-admin.crt"
