"""What people do to a fleet in one run, drawn from its seed: operators, committers, owners of Vault and clusters."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fleetbus.agent.capabilities.bundles.objects import PART_OF
from fleetbus.runtime.ports import Resource
from fleetbus.schemas.errors import BusUnavailable, FleetbusError, NotFound
from tests.simulation import wishes as wanted
from tests.simulation.fleet import APPS, CLUSTERS, SHARED, SimulatedFleet, public_key_of
from tests.simulation.git import Objects
from tests.simulation.invariants import CANARY, Place
from tests.simulation.kube_cluster import Stored
from tests.simulation.kube_fields import updated
from tests.simulation.operator import Operator
from tests.simulation.wishes import Binding, Bundle, Wishes

OUTCOMES = ("succeeds", "fails", "hangs", "dies")
_SECRETS = Resource("", "v1", "secrets", "Secret", True)
_MAPS = Resource("", "v1", "configmaps", "ConfigMap", True)


class Story:
    """Acts on the fleet, and writes down in `wishes` what that asks for."""

    def __init__(self, fleet: SimulatedFleet, operator: Operator) -> None:
        self.wishes = Wishes()
        self.told: list[str] = []
        self._fleet = fleet
        self._operator = operator
        self._chance = fleet.chance
        self._count = 0

    async def begin(self) -> None:
        """Somebody else's objects, the clusters, a source, and what each bundle starts with."""
        for name in CLUSTERS:
            self._foreign(name)
            self._write(f"main/{name}/app")
        self._write(f"shared/{SHARED}")
        for folder in wanted.FOLDERS:
            self.wishes.tree[folder] = self._drawn(folder)
        self._commit()
        self.wishes.environment = {name: self._environment() for name in CLUSTERS}
        await self._operator.apply(*(self._cluster(name) for name in CLUSTERS), wanted.source_document())

    async def act(self) -> None:
        """One thing that somebody does now."""
        name, action = self._chance.choice(tuple(self._actions.items()))
        self.told.append(f"{self._fleet.clock.monotonic_s():9.3f} {name}")
        await action(self)

    async def end(self) -> None:
        """Cancel what hangs; from here on nobody wants anything else."""
        for marker, outcome in self.wishes.commands.items():
            if outcome == "hangs":
                await self._cancel(marker)

    async def release_all(self) -> None:
        """Type the count of whatever is held."""
        for kind in ("Bundle", "SecretBinding"):
            for name, row in (await self._operator.rows(kind)).items():
                for count in sorted(_held(row.get("status", {}).get("details", {}))):
                    await self._operator.insist("release", {"kind": kind, "name": name, "prune": count})

    # the repository

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _drawn(self, folder: str) -> Objects:
        """Some of a folder's pool, with content of their own."""
        pool = wanted.POOLS[folder]
        some = [one for one in pool if self._chance.random() < 0.7] or [pool[0]]
        return wanted.complete(folder, tuple(wanted.filled(one, self._next()) for one in some))

    def _commit(self) -> None:
        self._fleet.repository.commit(self.wishes.tree)

    async def _change_folder(self) -> None:
        folder = self._chance.choice(wanted.FOLDERS)
        objects = list(self.wishes.tree.get(folder, ()))
        for _ in range(self._chance.choice((1, 1, 2, 5))):
            one = wanted.filled(self._chance.choice(wanted.POOLS[folder]), self._next())
            objects = [each for each in objects if wanted.place_of(dict(each)) != wanted.place_of(one)]
            if self._chance.random() < 0.65:
                objects.append(one)
        if objects:
            self.wishes.tree[folder] = wanted.complete(folder, tuple(objects))
            self._commit()

    async def _draw_folder_anew(self) -> None:
        folder = self._chance.choice(wanted.FOLDERS)
        self.wishes.tree[folder] = self._drawn(folder)
        self._commit()

    async def _empty_folder(self) -> None:
        folder = self._chance.choice(wanted.FOLDERS)
        if self._chance.random() < 0.5:
            self.wishes.tree.pop(folder, None)
        else:
            self.wishes.tree[folder] = ()
        self._commit()

    # documents

    def _environment(self) -> str:
        return self._chance.choice(wanted.ENVIRONMENTS)

    def _environments(self) -> tuple[str, ...]:
        return self._chance.choice((("dev",), ("prod",), ("dev", "prod"), ("dev", "prod")))

    def _cluster(self, name: str) -> dict[str, Any]:
        member = self._fleet.members[name]
        spec = {"key": public_key_of(member.settings), "vaultEntity": member.entity}
        return wanted.document("Cluster", name, spec, {"env": self.wishes.environment[name]})

    async def _label_cluster(self) -> None:
        name, before = self._chance.choice(CLUSTERS), dict(self.wishes.environment)
        self.wishes.environment[name] = self._environment()
        self._keep(before)
        await self._operator.apply(self._cluster(name))

    def _keep(self, before: Mapping[str, str]) -> None:
        """Note where objects may stay since their bundle lets go of a cluster without taking them along."""
        for bundle in self.wishes.bundles.values():
            if bundle.untarget == "Keep":
                self.wishes.kept |= {
                    (name, bundle.folder) for name in CLUSTERS if before[name] in bundle.environments
                }

    async def _write_bundle(self) -> None:
        folder = self._chance.choice(wanted.FOLDERS)
        known = self.wishes.bundles.get(folder)
        untarget = known.untarget if known else self._chance.choice(("Remove", "Remove", "Keep"))
        self._keep(self.wishes.environment)
        bundle = Bundle(folder, folder, self._environments(), untarget)
        self.wishes.bundles[folder] = bundle
        await self._operator.apply(bundle.document())
        self._keep(self.wishes.environment)

    async def _delete_bundle(self) -> None:
        if not self.wishes.bundles:
            return
        bundle = self.wishes.bundles.pop(self._chance.choice(sorted(self.wishes.bundles)))
        policy = self._chance.choice(("Remove", "Keep"))
        if policy == "Keep" or bundle.untarget == "Keep":
            self.wishes.kept |= {(name, bundle.folder) for name in CLUSTERS}
        body = {"kind": "Bundle", "name": bundle.name, "policy": policy}
        await self._operator.insist("delete", body)

    async def _release(self) -> None:
        await self.release_all()

    async def _sync(self) -> None:
        await self._once("sync", {"kind": "Source", "name": wanted.SOURCE})

    # secrets

    def _write(self, path: str) -> None:
        self.wishes.values[path] = f"{CANARY}-{self._next()}"
        self._fleet.vault.put(path, {"password": self.wishes.values[path]})

    async def _write_secret(self) -> None:
        self._write(self._chance.choice(sorted(self.wishes.values)))

    async def _bind(self) -> None:
        name, target = self._chance.choice(
            (("own", "own"), ("shared", "db"), ("theirs", wanted.FOREIGN_SECRET))
        )
        binding = Binding(name, target, self._environments(), shared=name == "shared")
        known = self.wishes.bindings.get(name)
        binding.revoked = known.revoked if known else False
        self.wishes.bindings[name] = binding
        await self._operator.apply(binding.document())

    async def _revoke(self) -> None:
        if not self.wishes.bindings or self._chance.random() < 0.5:
            return
        binding = self.wishes.bindings[self._chance.choice(sorted(self.wishes.bindings))]
        binding.revoked = True
        await self._operator.insist("revoke", {"name": binding.name})

    async def _delete_binding(self) -> None:
        if self.wishes.bindings and self._chance.random() < 0.5:
            name = self._chance.choice(sorted(self.wishes.bindings))
            binding = self.wishes.bindings.pop(name)
            self.wishes.gone.add(binding.target)
            await self._operator.insist("delete", {"kind": "SecretBinding", "name": name, "policy": "Remove"})

    # commands

    async def _run_command(self) -> None:
        marker = f"m{self._next()}"
        outcome = self._chance.choice(OUTCOMES)
        self.wishes.commands[marker] = outcome
        step_s = self._chance.choice((0.5, 3.0, 20.0))
        arguments = {"outcome": outcome, "steps": 3, "stepS": step_s, "message": marker}
        order = {
            "cluster": self._chance.choice(CLUSTERS),
            "driver": "rehearsal",
            "arguments": arguments,
            "deadlineS": self._chance.choice((20.0, 300.0, 900.0)),
        }
        await self._once("command", {"action": "run", "order": order})

    async def _cancel_command(self) -> None:
        if self.wishes.commands:
            await self._cancel(self._chance.choice(sorted(self.wishes.commands)))

    async def _cancel(self, marker: str) -> None:
        for cluster, listed in self._fleet.commands().items():
            for one in listed:
                if one.arguments.get("message") == marker:
                    body = {"action": "cancel", "id": one.id, "cluster": cluster}
                    await self._operator.insist("command", body)

    async def _once(self, verb: str, body: Mapping[str, Any]) -> None:
        """Asked once, as somebody would who does not know whether it was done."""
        try:
            await self._operator.ask(verb, body)
        except (BusUnavailable, FleetbusError) as error:
            self._operator.refusals.append(f"{verb}: {error.sentence()}")

    # in the clusters

    def _foreign(self, name: str) -> None:
        """What is somebody else's: beside ours, in our way, and looking like ours."""
        helm = {
            "labels": {"app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": "theirs"},
        }
        self._plant(name, _MAPS, ("default", "bystander"), {"data": {"value": "theirs"}})
        if name == wanted.CLASH_CLUSTER:
            clash = (APPS, wanted.CLASHING)
            self._plant(name, _MAPS, clash, {"metadata": helm, "data": {"value": "theirs"}})
            secret = (APPS, wanted.FOREIGN_SECRET)
            self._plant(name, _SECRETS, secret, {"data": {"a": base64.b64encode(b"theirs").decode()}})

    def _plant(self, name: str, resource: Resource, key: tuple[str, str], body: dict[str, Any]) -> None:
        server = self._fleet.members[name].server
        server.put(resource, key, body, {("somebody", "Update"): frozenset()})
        self._fleet.invariants.foreign[name].add(((resource.group, resource.plural), key))

    def _ours(self) -> tuple[str, Place, Stored] | None:
        """One object of a pool that is in a cluster now."""
        name = self._chance.choice(CLUSTERS)
        server = self._fleet.members[name].server
        found = [
            (place, stored)
            for pool in wanted.POOLS.values()
            for one in pool
            if (place := wanted.place_of(one)) not in self._fleet.invariants.foreign[name]
            and (stored := server.stored(place)) is not None
        ]
        return (name, *self._chance.choice(found)) if found else None

    async def _edit_by_hand(self) -> None:
        found = self._ours()
        if found is None or found[1][0][1] in ("namespaces", "customresourcedefinitions"):
            return
        name, place, stored = found
        server = self._fleet.members[name].server
        body = {**stored.object, "metadata": {**stored.object["metadata"], "resourceVersion": ""}}
        what = self._chance.choice(("value", "label", "more"))
        if what == "value":
            body["data" if "data" in body else "spec"] = {"value": "by hand"}
        elif what == "label":
            labels = dict(body["metadata"].get("labels") or {})
            labels.pop(PART_OF, None)
            self.wishes.loosed.add((name, place))
            body["metadata"]["labels"] = labels
        else:
            body["metadata"]["annotations"] = {**body["metadata"].get("annotations", {}), "note": "by hand"}
        owners = updated(stored.object, body, stored.owners, self._chance.choice(("kubectl", "k9s")))
        server.put(self._resource(name, place), place[1], body, owners)

    async def _delete_by_hand(self) -> None:
        found = self._ours()
        if found is not None and found[1][0][1] != "customresourcedefinitions":
            name, place, _ = found
            self._fleet.members[name].server.remove(self._resource(name, place), place[1])

    async def _copy_by_hand(self) -> None:
        """Somebody copies one of our objects with all its labels: the copy is theirs."""
        found = self._ours()
        if found is None or found[1][0] != ("", "configmaps") or found[1][1][0] != APPS:
            return
        name, place, stored = found
        metadata = {key: stored.object["metadata"].get(key) or {} for key in ("labels", "annotations")}
        key = (place[1][0], f"copy-{self._next()}")
        self._plant(name, _MAPS, key, {"metadata": metadata, "data": {"value": "a copy"}})

    async def _meddle_with_secret(self) -> None:
        name = self._chance.choice(CLUSTERS)
        server = self._fleet.members[name].server
        key = (APPS, self._chance.choice(("own", "db")))
        stored = server.stored((("", "secrets"), key))
        if stored is None:
            return
        if self._chance.random() < 0.5:
            server.remove(_SECRETS, key)
            return
        body = {**stored.object, "metadata": {**stored.object["metadata"], "resourceVersion": ""}}
        body["data"] = {"password": base64.b64encode(b"by hand").decode()}
        server.put(_SECRETS, key, body, updated(stored.object, body, stored.owners, "kubectl"))

    def _resource(self, name: str, place: Place) -> Resource:
        group, plural = place[0]
        for resource in self._fleet.members[name].server.kinds:
            if (resource.group, resource.plural) == (group, plural):
                return resource
        raise NotFound(f"no kind {plural}")

    _actions: Mapping[str, Callable[[Story], Awaitable[None]]] = {
        "change a folder": _change_folder,
        "change a folder again": _change_folder,
        "draw a folder anew": _draw_folder_anew,
        "empty a folder": _empty_folder,
        "label a cluster": _label_cluster,
        "write a bundle": _write_bundle,
        "write a bundle again": _write_bundle,
        "delete a bundle": _delete_bundle,
        "release": _release,
        "sync": _sync,
        "write a secret": _write_secret,
        "bind a secret": _bind,
        "revoke a secret": _revoke,
        "delete a binding": _delete_binding,
        "run a command": _run_command,
        "cancel a command": _cancel_command,
        "edit by hand": _edit_by_hand,
        "delete by hand": _delete_by_hand,
        "copy by hand": _copy_by_hand,
        "meddle with a secret": _meddle_with_secret,
    }


def _held(details: Mapping[str, Any]) -> set[int]:
    """The counts that let go what a document's status says is held."""
    counts = {int(details.get(key) or 0) for key in ("heldObjects", "heldPrunes")}
    counts.add(len(details.get("heldClusters") or ()))
    if details.get("emptiedAt"):
        counts.add(int(details.get("objects") or 0))
    return counts - {0}
