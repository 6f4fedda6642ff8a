"""A fleet's folder: made once, changed by nothing that was done already, keys in files of mode 0600."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetbus.cli.ceremony.folder import (
    ensure_seed,
    read_seed,
    seed_file,
    server_configuration,
    server_pid_file,
)
from fleetbus.cli.ceremony.init import FleetPlan, make_fleet, person_seed_file, write_controller
from fleetbus.cli.ceremony.join import Identity, JoinRequest, cluster_document, in_order, secret
from fleetbus.cli.ceremony.manifests import agent_manifests
from fleetbus.cli.ceremony.record import Member, VaultPlace, read_record, write_record
from fleetbus.client import load_context
from fleetbus.local.nats import server_path
from fleetbus.schemas.catalogue import KINDS
from fleetbus.schemas.errors import AlreadyExists, DocumentInvalid, NotFound, ObjectInvalid, SettingsInvalid
from fleetbus.schemas.signing import key_of_seed, public_key
from fleetbus.schemas.subjects import ClusterId
from tests.unit.cli.fleet_of_three import run

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PLAN = FleetPlan("demo", ("127.0.0.1", "localhost"), 4222)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_fleet_is_made_once(tmp_path: Path) -> None:
    said: list[str] = []
    record = make_fleet(tmp_path, PLAN, NOW, said.append)
    before = _files(tmp_path)
    assert set(before) == {
        "fleet.json",
        "ca.crt",
        "ca.key",
        "controller.json",
        "nats/server.conf",
        "nats/server.crt",
        "nats/server.key",
        "nats/ca.crt",
        "keys/system.seed",
        "keys/controller.seed",
        "keys/controller-signing.seed",
        "keys/operator-admin.seed",
        "keys/subscriber-events.seed",
    }
    assert said
    said.clear()
    assert make_fleet(tmp_path, PLAN, NOW, said.append) == record == read_record(tmp_path)
    assert _files(tmp_path) == before
    assert said == []


def test_what_is_secret_is_for_its_owner_and_not_in_the_record(tmp_path: Path) -> None:
    make_fleet(tmp_path, PLAN, NOW)
    secrets = [*(tmp_path / "keys").iterdir(), tmp_path / "ca.key", tmp_path / "nats" / "server.key"]
    assert [file.name for file in secrets if file.stat().st_mode & 0o077] == []
    public = (tmp_path / "fleet.json").read_text() + (tmp_path / "nats" / "server.conf").read_text()
    for file in (tmp_path / "keys").glob("*.seed"):
        assert file.read_text().strip() not in public
    assert "PRIVATE" not in public


def test_the_server_takes_the_configuration(tmp_path: Path) -> None:
    record = make_fleet(tmp_path, PLAN, NOW)
    member = Member(realm="main", name="dev-eu", nkey=ensure_seed(tmp_path, "cluster"))
    write_record(tmp_path, record.with_member(member))
    make_fleet(tmp_path, PLAN, NOW)
    asked = [str(server_path()), "-t", "-c", str(tmp_path / "nats" / "server.conf")]
    done = subprocess.run(asked, cwd="/", capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "nats" / "server.conf").read_text()
    assert "fleet.v1.state.main.dev-eu.session" in written
    assert f'pid_file: "{server_pid_file(tmp_path)}"' in written
    with pytest.raises(SettingsInvalid):
        server_configuration(tmp_path / 'a"b', record)


def test_other_hosts_get_another_certificate_and_nothing_else(tmp_path: Path) -> None:
    make_fleet(tmp_path, PLAN, NOW)
    before = _files(tmp_path)
    make_fleet(tmp_path, FleetPlan("demo", ("bus.example.com",)), NOW)
    changed = {name for name, content in _files(tmp_path).items() if before.get(name) != content}
    assert changed == {"fleet.json", "controller.json", "nats/server.crt", "nats/server.key"}


def test_people_are_added_and_stay(tmp_path: Path) -> None:
    make_fleet(tmp_path, PLAN, NOW)
    record = make_fleet(tmp_path, FleetPlan("demo", PLAN.hosts, operators=("ana",)), NOW)
    assert [(one.role, one.name) for one in record.people] == [
        ("operator", "admin"),
        ("operator", "ana"),
        ("subscriber", "events"),
    ]
    assert person_seed_file(tmp_path, record, "ana") == seed_file(tmp_path, "operator-ana")
    operators = json.loads((tmp_path / "controller.json").read_text())["operators"]
    assert sorted(operators.values()) == ["admin", "ana"]
    with pytest.raises(NotFound):
        person_seed_file(tmp_path, record, "eve")


def test_the_controller_reads_its_settings(tmp_path: Path) -> None:
    from fleetbus.controller.settings import load_settings

    record = make_fleet(tmp_path, PLAN, NOW)
    settings = load_settings(tmp_path / "controller.json")
    assert (settings.fleet, settings.epoch, settings.bus_servers) == ("demo", 1, record.bus_servers)
    assert public_key(key_of_seed(settings.bus_seed_file.read_text())) == record.controller
    assert public_key(key_of_seed(settings.signing_seed_file.read_text())) in record.signing_keys


def test_wrong_names_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentInvalid):
        make_fleet(tmp_path, FleetPlan("7", ("h",)), NOW)
    with pytest.raises(SettingsInvalid):
        make_fleet(tmp_path, FleetPlan("demo", ()), NOW)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFound, match="no fleet"):
        read_record(tmp_path)
    make_fleet(tmp_path, PLAN, NOW)
    with pytest.raises(AlreadyExists):
        make_fleet(tmp_path, FleetPlan("other", ("h",)), NOW)
    (tmp_path / "fleet.json").write_text("{")
    with pytest.raises(SettingsInvalid, match="damaged"):
        read_record(tmp_path)


def test_the_agents_secret_is_what_the_agent_reads(tmp_path: Path) -> None:
    from fleetbus.agent.settings import parse_settings

    record = make_fleet(tmp_path, PLAN, NOW)
    place = VaultPlace(address="https://vault.example.com:8200", ca=(tmp_path / "ca.crt").read_text())
    record = record.model_copy(update={"vault": place})
    identity = Identity("uid-1", ("PEM",), read_seed(tmp_path, "system"))
    request = JoinRequest("dev-eu", labels={"env": "dev"})
    made = secret(record, tmp_path, request, identity, with_vault=True)
    assert (made["metadata"]["namespace"], made["metadata"]["name"]) == ("fleetbus-system", "fleetbus-agent")
    settings = parse_settings(made["data"])
    assert settings.identity.cluster == ClusterId("main", "dev-eu")
    assert (settings.identity.fleet, settings.identity.uid) == ("demo", "uid-1")
    assert settings.controller_keys == set(record.signing_keys)
    assert settings.bus_servers == record.bus_servers
    assert settings.vault is not None
    assert (settings.vault.mount, settings.vault.role) == ("fleet_main_dev-eu", "fleetbus-agent")
    document = cluster_document(request, identity, "entity-1")
    KINDS["Cluster"].model_validate(document)
    assert document["spec"]["key"] == identity.nkey
    assert identity.seed not in repr(identity)


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
    assert (
        public_key(key_of_seed(context.seed())) in (tmp_path / "fleet" / "nats" / "server.conf").read_text()
    )
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
    record = make_fleet(tmp_path, first, NOW)
    file = tmp_path / "controller.json"
    added = {"credentialsDir": "git", "documentsDir": "wanted", "workDir": "/var/cache/fleetbus"}
    theirs = {"UKEY": "ben", record.people[0].nkey: "ana"}
    file.write_text(json.dumps(json.loads(file.read_text()) | added | {"operators": theirs}))
    before = _files(tmp_path)
    assert make_fleet(tmp_path, FleetPlan("demo"), NOW) == record
    assert _files(tmp_path) == before

    changed = make_fleet(tmp_path, FleetPlan("demo", ("bus.example.com",), operators=("eve",)), NOW)
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
        make_fleet(tmp_path, FleetPlan("demo"), NOW)


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
