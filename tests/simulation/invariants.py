"""What must be true after every single effect, whoever dies when. Told of each store, message and change.

A violation ends the run at that step: what broke first is what is reported.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from fleetbus.agent.capabilities.bundles.objects import PART_OF
from fleetbus.agent.capabilities.bundles.ownership import BUNDLE_ID_LABEL, HOME, parse_parent
from fleetbus.agent.capabilities.commands.drivers.rehearsal import map_name
from fleetbus.agent.desired import kept_key
from fleetbus.agent.keep import parse_state
from fleetbus.agent.lease import LEASE
from fleetbus.agent.settings import NAME, NAMESPACE
from fleetbus.runtime.ports import Message
from fleetbus.schemas import subjects
from fleetbus.schemas.artifacts import unpack
from fleetbus.schemas.canonical import parse_json
from fleetbus.schemas.desired import DesiredSet, Head
from fleetbus.schemas.events import CloudEvent, Transition
from fleetbus.schemas.signing import unverified, verify
from fleetbus.schemas.states import State
from fleetbus.schemas.streams import ARTIFACTS, DESIRED, DOCUMENTS, EVENTS, STATE
from tests.simulation.audit_trail import AuditTrail
from tests.simulation.bus import SimulatedServer
from tests.simulation.kube_cluster import Change, Key, Kind, Object, SimulatedCluster, Stored
from tests.simulation.processes import PROCESS, Process

CANARY = "CANARY"
"""How every secret's value begins."""
_CANARIES = (CANARY.encode(), base64.b64encode(CANARY.encode()))
_CONFIG_MAPS: Kind = ("", "configmaps")
_SECRETS: Kind = ("", "secrets")
_AGENT_STATES: Kind = ("agent.fleetbus.dev", "agentstates")
_REHEARSAL = map_name("")

Place = tuple[Kind, Key]


class Invariants:
    """`violations` is empty as long as all is well. `foreign`: cluster → objects that nobody of ours may touch."""

    def __init__(self, controller_key: str) -> None:
        self.violations: list[str] = []
        self.foreign: defaultdict[str, set[Place]] = defaultdict(set)
        self.effects: defaultdict[str, int] = defaultdict(int)
        self.emitted: dict[str, int] = {}
        self.events: list[CloudEvent] = []
        self._controller_key = controller_key
        self._audit = AuditTrail(controller_key)
        self._term_of: Process | None = None
        self._serials: dict[str, tuple[int, int]] = {}
        self._transitions: dict[tuple[str, int], Transition] = {}
        self._session_of: dict[str, Process | None] = {}
        self._accepted: dict[tuple[str, str], tuple[int, int]] = {}
        self._artifacts: dict[str, bytes] = {}
        self._told: defaultdict[str, dict[Place, list[Object]]] = defaultdict(dict)
        self._told_artifacts: set[tuple[str, str]] = set()

    def say(self, sentence: str) -> None:
        who = PROCESS.get()
        self.violations.append(f"{sentence} (by {who.holder if who else 'the world'})")

    # on the bus

    def stored(self, stream: str, message: Message) -> None:
        data = message.data
        if stream == ARTIFACTS.name:
            data = self._take_artifact(message)
        elif stream == DESIRED.name:
            self._take_desired(message)
        elif stream == EVENTS.name:
            self._take_event(message)
        elif stream == STATE.name:
            self._take_state(message)
        elif stream == DOCUMENTS.name:
            for sentence in self._audit.take(message):
                self.say(sentence)
        self.sent(message.subject, data)

    def sent(self, subject: str, data: bytes) -> None:
        """No secret's value is ever in a message."""
        if any(canary in data for canary in _CANARIES):
            self.say(f"a secret's value is in a message on {subject}")

    def _take_artifact(self, message: Message) -> bytes:
        digest = subjects.parse_artifact(message.subject) or ""
        self._artifacts[digest] = content = unpack(digest, message.data)
        return content

    def _take_desired(self, message: Message) -> None:
        """Only who holds the term writes what clusters are told, and what it names is stored before."""
        who = PROCESS.get()
        if message.subject == subjects.TERM:
            self._term_of = who
        if message.subject in (subjects.TERM, subjects.LEASE):
            return
        if who is not self._term_of:
            self.say(f"{message.subject} was written without the term, which is {self._term_of}'s")
        content = verify(message.subject, message.data, {self._controller_key})
        told = parse_json(content)
        now, last = (told["epoch"], told["serial"]), self._serials.get(message.subject, (0, 0))
        if now <= last:
            self.say(f"{message.subject} went from {last} to {now}")
        self._serials[message.subject] = now
        cluster = subjects.parse_cluster(message.subject, "desired")
        if cluster is not None:
            self._take_set(cluster.name, Head.from_bytes(content).set)

    def _take_set(self, cluster: str, name: str) -> None:
        if name not in self._artifacts:
            self.say(f"a head for {cluster} names a set that is not stored")
            return
        for ref in DesiredSet.from_bytes(self._artifacts[name]).sections.values():
            section = parse_json(self._artifacts[ref.digest])
            for entry in section.get("bundles", ()):
                self._take_objects(cluster, entry["artifact"])

    def _take_objects(self, cluster: str, artifact: str) -> None:
        if (cluster, artifact) in self._told_artifacts:
            return
        self._told_artifacts.add((cluster, artifact))
        if artifact not in self._artifacts:
            self.say(f"{cluster} is told of an artifact that is not stored")
            return
        for one in parse_json(self._artifacts[artifact])["objects"]:
            self._told[cluster].setdefault(_named(one), []).append(one)

    def _take_event(self, message: Message) -> None:
        """Each origin's transitions become events each once, in order, none left out."""
        event = CloudEvent.from_bytes(message.data)
        last = self.emitted.get(event.origin, 0)
        if event.transition != last + 1:
            self.say(f"event {event.transition} of {event.origin} follows {last}: {event.short_type}")
        known = self._transitions.get((event.origin, event.transition))
        if known is not None and (known.type, known.subject, known.reason) != (
            event.short_type,
            event.subject,
            event.data.get("reason"),
        ):
            self.say(f"event {event.id} is not what was reported: {event.short_type} and not {known.type}")
        self.emitted[event.origin] = event.transition
        self.events.append(event)

    def _take_state(self, message: Message) -> None:
        """Only who opened the cluster's last session reports under it."""
        who, state = PROCESS.get(), subjects.parse_state(message.subject)
        cluster = state.cluster if state else subjects.parse_cluster(message.subject, "result")
        if cluster is None:
            return
        if state is not None and state.aspect == "session":
            self._session_of[cluster.name] = who
        elif self._session_of.get(cluster.name) is not who:
            self.say(
                f"{message.subject} was written under the session of {self._session_of.get(cluster.name)}"
            )
        self._take_transitions(State.from_bytes(unverified(message.data)))

    def _take_transitions(self, state: State) -> None:
        """What was reported to have happened is never told in another way."""
        for one in state.outbox.pending:
            place = (f"{state.uid}/{state.aspect}", one.sequence)
            if self._transitions.setdefault(place, one) != one:
                self.say(f"transition {place} was {self._transitions[place].type} and is {one.type}")

    # in clusters

    def changed(self, cluster: str, world: SimulatedCluster, change: Change) -> None:
        who = PROCESS.get()
        if who is None:
            return
        place = (change.kind, change.key)
        if place in self.foreign[cluster]:
            self.say(f"{cluster}: foreign {place} was {change.type}")
        if change.kind == _AGENT_STATES:
            self._take_accepted(cluster, change.object)
        elif _is_effect(change):
            self.effects[change.key[1]] += change.type == "ADDED"
            if self.effects[change.key[1]] > 1:
                self.say(f"{cluster}: command {change.key[1]} took effect twice")
        elif _is_member(change):
            self._take_member(cluster, world, change, who)

    def _take_accepted(self, cluster: str, found: Object) -> None:
        """What an agent has accepted never goes back."""
        state = parse_state(found)
        for which in subjects.MAILBOXES:
            kept: Mapping[str, Any] = state.get(kept_key(which)) or {}
            now = (int(kept.get("epoch", 0)), int(kept.get("serial", -1)))
            if now < self._accepted.get((cluster, which), (0, -1)):
                before = self._accepted[(cluster, which)]
                self.say(f"{cluster}: accepted {which} went from {before} to {now}")
            self._accepted[(cluster, which)] = now

    def _take_member(self, cluster: str, world: SimulatedCluster, change: Change, who: Process) -> None:
        lease = world.objects(LEASE).get((NAMESPACE, NAME))
        holder = (lease.object.get("spec") or {}).get("holderIdentity") if lease else None
        if holder != who.holder:
            self.say(
                f"{cluster}: {change.kind[1]} {change.key} was {change.type} under the Lease of {holder}"
            )
        if change.type == "DELETED":
            if not _goes_with_another(world, change) and not _is_recorded(world, change):
                self.say(f"{cluster}: {change.kind[1]} {change.key} was deleted and is in no record")
        elif PART_OF in (change.object["metadata"].get("labels") or {}):
            told = self._told[cluster].get((change.kind, change.key), [])
            if not any(contains(change.object, one) for one in told):
                self.say(
                    f"{cluster}: {change.kind[1]} {change.key} has content that no signed artifact gave it"
                )


class WatchedServer(SimulatedServer):
    """A bus whose every message is looked at."""

    invariants: Invariants

    def store(self, stream: Any, put: Any) -> int:
        sequence = super().store(stream, put)
        subject = stream.stored_subject(put.subject)
        message = Message(subject, put.data, "", dict(put.headers), sequence, self.clock.now())
        self.invariants.stored(stream.config.name, message)
        return sequence

    def deliver(self, message: Message) -> int:
        self.invariants.sent(message.subject, message.data)
        return super().deliver(message)


class WatchedCluster(SimulatedCluster):
    """A cluster whose every change is looked at."""

    name = ""
    invariants: Invariants | None = None

    def _record(self, change: str, resource: Any, key: Key, found: Object) -> None:
        super()._record(change, resource, key, found)
        if self.invariants is not None:
            self.invariants.changed(self.name, self, self.history[-1])

    def stored(self, place: Place) -> Stored | None:
        return self._objects.get(place[0], {}).get(place[1])


def contains(live: Any, wanted: Any) -> bool:
    """Whether everything that is wanted is there; there may be more."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            contains(live.get(key), value) for key, value in wanted.items()
        )
    return bool(live == wanted)


def _named(one: Object) -> Place:
    group = str(one["apiVersion"]).rpartition("/")[0]
    metadata = one["metadata"]
    return (group, plural(str(one["kind"]))), (str(metadata.get("namespace") or ""), str(metadata["name"]))


def plural(kind: str) -> str:
    """Of the kinds that the simulation uses."""
    return f"{kind.lower()}s"


def _is_effect(change: Change) -> bool:
    namespace, name = change.key
    return change.kind == _CONFIG_MAPS and namespace == HOME and name.startswith(_REHEARSAL)


def _is_member(change: Change) -> bool:
    """An object that a bundle may own: what is in our own namespace, and Secrets, are not."""
    return change.key[0] != HOME and change.kind != _SECRETS


def _goes_with_another(world: SimulatedCluster, change: Change) -> bool:
    """Whether its Namespace or its definition went, and the server took it along."""
    namespace = change.key[0]
    namespaces = world._objects.get(("", "namespaces"), {})
    if namespace and ("", namespace) not in namespaces:
        return True
    definitions = world._objects.get(("apiextensions.k8s.io", "customresourcedefinitions"), {})
    groups = {stored.object["spec"]["group"] for stored in definitions.values()}
    return change.kind[0].endswith(".example") and change.kind[0] not in groups


def _is_recorded(world: SimulatedCluster, change: Change) -> bool:
    """Whether an apply set's record names it now."""
    for key, stored in world._objects.get(_CONFIG_MAPS, {}).items():
        if key[0] == HOME and BUNDLE_ID_LABEL in (stored.object["metadata"].get("labels") or {}):
            for member in parse_parent(stored.object).objects:
                place = ((member.group, plural(member.kind)), (member.namespace, member.name))
                if place == (change.kind, change.key):
                    return True
    return False
