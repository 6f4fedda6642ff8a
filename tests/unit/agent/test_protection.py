"""What the agent makes of its owner's object, whatever becomes of it, and of what only takes away."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from fleetbus.agent.admission import Admission
from fleetbus.agent.capabilities.secrets.withdrawal import withdrawn
from fleetbus.agent.ports import Identity
from fleetbus.agent.protection import PROTECTION, Protection
from fleetbus.agent.standing import Standing
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.approvals import PRUNE, SET, ProtectionState
from fleetbus.schemas.artifacts import artifact
from fleetbus.schemas.capabilities.secrets import SecretEntry, SecretsSection
from fleetbus.schemas.desired import DesiredSet, Head, Retired, SectionRef
from fleetbus.schemas.errors import ApplyRefused, FleetbusError, NotFound
from fleetbus.schemas.subjects import ClusterId
from tests.agent_ports import MemoryKeep
from tests.approvers import ANA, BEN, approval, here, protection, signed

ME = Identity("test", ClusterId("main", "c1"), "uid-1")
OLD, NEW = "0" * 64, "1" * 64
CLOCK = SystemClock()
FORBIDDEN = ApplyRefused("forbidden", status=403)
ABSENT = NotFound("not there")


class OwnersObject:
    """The one object that is read, or why it is not."""

    def __init__(self, found: dict[str, Any] | FleetbusError) -> None:
        self.found = found

    async def get(self, resource: Any, namespace: str, name: str) -> dict[str, Any]:
        assert (resource, namespace, name) == (PROTECTION, "fleetbus-system", "fleetbus")
        if isinstance(self.found, FleetbusError):
            raise self.found
        return self.found


class Stand:
    def __init__(self, found: dict[str, Any] | FleetbusError, accepted_set: str = "") -> None:
        self.kube: Any = OwnersObject(found)
        self.keep = MemoryKeep()
        self.standing = Standing(accepted_set=accepted_set)
        self.protection = self.started()

    def started(self) -> Protection:
        """The agent's process, once more."""
        return Protection(self.kube, self.keep, CLOCK, ME, self.standing, lambda: "")

    async def looks(self, found: dict[str, Any] | FleetbusError) -> ProtectionState | None:
        self.kube.found = found
        await self.protection.look()
        return self.standing.protection

    def state(self) -> ProtectionState:
        assert self.standing.protection is not None
        return self.standing.protection


def head(set_: str = NEW, *approvals: str) -> Head:
    now = CLOCK.now()
    return Head(
        fleet="test",
        cluster="uid-1",
        epoch=1,
        serial=1,
        issued_at=now,
        not_after=now + timedelta(days=1),
        set=set_,
        approvals=approvals or None,
    )


def both(state: ProtectionState, digest: str, **fields: Any) -> list[str]:
    where = here(ME, state, prunes=fields.pop("prunes", {}))
    return [signed(approval(digest, CLOCK.now(), where, **fields), key) for key in (ANA, BEN)]


async def test_an_unprotected_cluster_keeps_nothing_and_admits_all() -> None:
    stand = Stand(ABSENT)
    assert await stand.looks(ABSENT) is None
    assert await stand.protection.admit(head(), "d") == NEW
    assert stand.protection.may_prune("b", 1000)
    assert stand.keep.writes == 0


@pytest.mark.parametrize(
    "lost",
    [
        ABSENT,
        FORBIDDEN,
        {"spec": {"required": 9}},
        {"spec": {"required": 1, "approvers": [{"name": "eve", "key": "U"}]}},
        {},
    ],
    ids=["gone", "forbidden", "more than there are", "a wrong key", "empty"],
)
async def test_rules_that_cannot_be_read_any_more_hold(lost: dict[str, Any] | FleetbusError) -> None:
    stand = Stand(protection(2), OLD)
    await stand.protection.look()
    state = await stand.looks(lost)
    assert state is not None
    assert state.trouble
    assert state.required == 2
    assert await stand.protection.admit(head(), "d") == OLD
    stand.protection = stand.started()
    await stand.protection.look()
    assert await stand.protection.admit(head(NEW, *both(state, NEW)), "d") == NEW


async def test_an_object_that_was_never_readable_seals() -> None:
    stand = Stand({"spec": {"required": "two"}}, OLD)
    state = await stand.looks(stand.kube.found)
    assert state is not None
    assert await stand.protection.admit(head(NEW, *both(state, NEW)), "d") == OLD
    assert (await stand.looks(ABSENT)) is not None
    assert await stand.looks(protection(0)) is None
    assert await stand.protection.admit(head(), "d") == NEW


async def test_what_may_not_be_read_seals_until_it_is_known_that_there_is_nothing() -> None:
    stand = Stand(FORBIDDEN, OLD)
    state = await stand.looks(FORBIDDEN)
    assert state is not None
    assert "apply the agent's manifests anew" in state.trouble
    assert await stand.protection.admit(head(), "d") == OLD
    assert stand.keep.writes == 0
    assert await stand.looks(ABSENT) is None
    assert await stand.protection.admit(head(), "d") == NEW


async def test_other_approvers_count_from_then_on_also_for_what_waits() -> None:
    stand = Stand(protection(2), OLD)
    looked: list[str] = []
    stand.protection.rules_changed = lambda: looked.append("again")
    await stand.protection.look()
    told = head(NEW, *both(stand.state(), NEW))
    stand.kube.found = protection(2, ["ana", "cyd"])
    await stand.protection.look()
    assert looked == ["again", "again"]
    assert await stand.protection.admit(told, "d") == OLD
    assert stand.state().waiting[0].approved_by == ("ana",)
    await stand.looks(protection(1, ["cyd", "ben"]))
    assert await stand.protection.admit(told, "d") == NEW


async def test_a_removal_waits_until_it_was_agreed_to_and_is_told() -> None:
    stand = Stand(protection(2), OLD)
    await stand.protection.look()
    stirred: list[str] = []
    stand.protection.prunes_changed = lambda: stirred.append("look")
    assert stand.protection.may_prune("b", 0)
    assert not stand.protection.may_prune("b", 3)
    (waits,) = stand.state().waiting
    assert (waits.kind, waits.digest, waits.prunes) == (PRUNE, OLD, {"b": 3})
    agreed = both(stand.state(), OLD, kind=PRUNE, prunes={"b": 3})
    await stand.protection.admit(head(OLD, *agreed[:1]), "d")
    assert stand.state().waiting[0].approved_by == ("ana",)
    await stand.protection.admit(head(OLD, *agreed), "d")
    assert stirred == ["look"]
    assert stand.protection.may_prune("b", 3)
    assert stand.state().waiting == ()
    assert not stand.protection.may_prune("b", 4)


# what only takes away


def entry(name: str, **fields: Any) -> SecretEntry:
    given = {"id": name, "name": name, "generation": 1, "path": name, "namespace": "n", "secret": name}
    return SecretEntry.model_validate({**given, **fields})


class Sets:
    """Sets with their contents, as `Artifacts`."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}

    def put(self, *entries: SecretEntry, bundles: str = "", retired: tuple[Retired, ...] = ()) -> str:
        section = artifact(SecretsSection(secrets=entries).as_json())
        sections = {"secrets": SectionRef(version=1, digest=section.name)}
        if bundles:
            sections["bundles"] = SectionRef(version=1, digest=bundles)
        whole = artifact(DesiredSet(sections=sections, retired=retired).as_json())
        self.contents |= {section.name: section.content, whole.name: whole.content}
        return whole.name

    async def fetch(self, digest: str) -> bytes:
        if digest not in self.contents:
            raise NotFound(digest)
        return self.contents[digest]


GONE = Retired(capability="bundles", id="b", name="b", policy="Remove", count=1)
A, B = entry("a"), entry("b")
REVOKED = entry("a", revoked=True, generation=2)


async def admitted(before: Callable[[Sets], str], after: Callable[[Sets], str]) -> tuple[str, Any]:
    """`old` or `new` counts, and what is left of the secrets."""
    sets = Sets()
    old, new = before(sets), after(sets)
    stand = Stand(protection(2), old)
    await stand.protection.look()
    admission = Admission(stand.protection, sets, {"secrets": withdrawn})
    found = await admission.admit(head(new), "d")
    waits = [one.kind for one in stand.state().waiting]
    assert waits == ([SET] if found.set == old else [])
    return "old" if found.set == old else "new", found.left.get("secrets")


async def test_a_revocation_alone_counts_at_once() -> None:
    assert await admitted(lambda s: s.put(A, B), lambda s: s.put(REVOKED, B)) == ("new", None)


async def test_a_revocation_with_something_else_is_taken_out_of_what_waits() -> None:
    found, left = await admitted(lambda s: s.put(A, B), lambda s: s.put(REVOKED, entry("b", path="evil")))
    assert found == "old"
    assert SecretsSection.from_json(left).secrets == (REVOKED, B)
    found, left = await admitted(lambda s: s.put(A, bundles=OLD), lambda s: s.put(REVOKED, bundles=NEW))
    assert (found, SecretsSection.from_json(left).secrets) == ("old", (REVOKED,))


async def test_a_revocation_cannot_move_a_secret_nor_bring_one() -> None:
    found, left = await admitted(
        lambda s: s.put(A), lambda s: s.put(REVOKED.model_copy(update={"namespace": "other"}))
    )
    assert (found, SecretsSection.from_json(left).secrets) == ("old", (REVOKED,))
    assert await admitted(lambda s: s.put(B), lambda s: s.put(B, REVOKED)) == ("old", None)


async def test_a_retirement_that_has_left_the_set_needs_nobody_and_a_new_one_does() -> None:
    assert (await admitted(lambda s: s.put(A, retired=(GONE,)), lambda s: s.put(A)))[0] == "new"
    assert (await admitted(lambda s: s.put(A), lambda s: s.put(A, retired=(GONE,))))[0] == "old"


async def test_a_binding_that_is_no_more_listed_or_no_more_revoked_is_a_change() -> None:
    assert await admitted(lambda s: s.put(A, B), lambda s: s.put(B)) == ("old", None)
    assert await admitted(lambda s: s.put(REVOKED), lambda s: s.put(A)) == ("old", None)


async def test_what_cannot_be_read_takes_nothing_away_and_waits() -> None:
    assert await admitted(lambda s: s.put(A), lambda s: NEW) == ("old", None)
    assert await admitted(lambda s: s.put(A), lambda s: "no digest") == ("old", None)
