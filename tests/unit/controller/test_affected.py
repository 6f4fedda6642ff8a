"""Which documents a change says something about."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetbus.controller.capabilities import bundles, clusters, secrets, sources
from fleetbus.controller.ports import Capability, Change, Key
from fleetbus.schemas.capabilities.bundles import aspect_of
from fleetbus.schemas.documents import Status
from tests.unit.controller.fleet import Desk, cluster, reporting, stored

WEB, DB, TOKEN, KEY_ = (
    ("Bundle", "web"),
    ("Bundle", "db"),
    ("SecretBinding", "token"),
    ("SecretBinding", "key"),
)


def desk(tmp_path: Path, capability: Capability) -> Desk:
    made = Desk(capability, tmp_path)
    made.join(cluster("c1"), cluster("c2"))
    facts = {"facts": [{"fact": "nodes", "operator": "Exists"}]}
    made.put(
        stored("Source", "platform", {"git": {"url": "file:///srv/a"}}),
        stored("Bundle", "web", {"source": "platform", "placement": {"clusters": ["c1"]}}),
        stored("Bundle", "db", {"source": "other", "placement": facts}),
        stored("SecretBinding", "token", {"vault": {"shared": "one"}, "placement": facts}),
        stored("SecretBinding", "key", {"vault": {"shared": "one"}, "placement": {}}),
        stored("SecretBinding", "own", {"vault": {"path": "x"}, "placement": {}}),
    )
    for kind, name in (WEB, TOKEN):
        uid = f"uid-{kind.lower()}-{name}"
        details = {"placed": ["c1"], "retiring": ["c2"]}
        made.statuses[(kind, name)] = Status(kind=kind, name=name, uid=uid, details=details)
    made.clusters["c1"] = reporting(
        made.clusters["c1"], aspect_of("uid-bundle-db"), {"bundles": [{"id": "uid-bundle-db"}]}
    )
    return made


@pytest.mark.parametrize(
    ("capability", "change", "keys"),
    [
        (sources, Change("document", "Source", "platform"), {("Source", "platform")}),
        (sources, Change("presence", "Cluster", "c1"), set()),
        (bundles, Change("document", "Bundle", "web"), {WEB}),
        (bundles, Change("document", "Source", "platform"), {WEB}),
        (bundles, Change("status", "Source", "platform"), {WEB}),
        (bundles, Change("status", "Source", "platform", "outbox"), set()),
        (bundles, Change("status", "Bundle", "web"), set()),
        (bundles, Change("document", "Cluster", "c1"), {WEB, DB}),
        (bundles, Change("state", "Cluster", "c1", "facts"), {DB}),
        (bundles, Change("state", "Cluster", "c2", aspect_of("uid-bundle-web")), {WEB}),
        (bundles, Change("state", "Cluster", "c1", aspect_of("uid-bundle-db")), {DB}),
        (bundles, Change("state", "Cluster", "c1", "session"), set()),
        (bundles, Change("presence", "Cluster", "c1"), {WEB}),
        (secrets, Change("document", "SecretBinding", "token"), {TOKEN, KEY_}),
        (secrets, Change("document", "SecretBinding", "own"), {("SecretBinding", "own")}),
        (secrets, Change("document", "Cluster", "c1"), {TOKEN, KEY_, ("SecretBinding", "own")}),
        (secrets, Change("state", "Cluster", "c1", "secrets"), {TOKEN}),
        (secrets, Change("state", "Cluster", "c1", "facts"), {TOKEN}),
        (secrets, Change("presence", "Cluster", "c2"), {TOKEN}),
        (clusters, Change("state", "Cluster", "c1", "facts"), {("Cluster", "c1")}),
        (clusters, Change("presence", "Cluster", "c1"), {("Cluster", "c1")}),
        (clusters, Change("status", "Cluster", "c1"), set()),
    ],
)
def test_only_what_a_change_speaks_of_is_looked_at_again(
    tmp_path: Path, capability: object, change: Change, keys: set[Key]
) -> None:
    used: Capability = capability.CAPABILITY  # type: ignore[attr-defined]
    assert set(used.affected(change, desk(tmp_path, used).view())) == keys
