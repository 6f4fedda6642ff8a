"""From steps to the cluster: values go from Vault into the Secret and nowhere else, not even into an error."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fleetbus.agent.capabilities.secrets import records, troubles
from fleetbus.agent.capabilities.secrets.observe import SECRET, live_of, look
from fleetbus.agent.capabilities.secrets.plan import (
    Gone,
    Live,
    Record,
    Release,
    Remove,
    Rest,
    Step,
    Trouble,
    Wanted,
    Write,
    held_by_finalizers,
    label_of,
    synced,
)
from fleetbus.agent.ports import Ports
from fleetbus.runtime.ports import VaultSecret
from fleetbus.schemas.capabilities import secrets as schema
from fleetbus.schemas.capabilities.secrets import SecretEntry
from fleetbus.schemas.errors import ApplyRefused, FleetbusError, KubeConflict
from fleetbus.schemas.events import Happened

_KEY = re.compile(r"^[-._a-zA-Z0-9]{1,253}$")
_UNPROCESSABLE = 422
_TRIAL_NAME = "fleetbus-dry-run"


@dataclass(slots=True)
class Applied:
    """What became of one binding. `trouble` is the last word on it."""

    record: Record | None
    trouble: Trouble
    happened: list[Happened] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Writer:
    """One binding's steps, taken in order until one fails. `may_write` is asked before each write."""

    ports: Ports
    want: Wanted
    may_write: Callable[[], bool]

    async def take(self, steps: Sequence[Step], record: Record | None) -> Applied:
        done = Applied(record, records.STARTING)
        removed_at: datetime | None = None
        for step in steps:
            if not isinstance(step, (Gone, Rest)) and self.ports.observes():
                done.trouble = troubles.observed(step)
                break
            if not isinstance(step, (Gone, Rest)) and not self.may_write():
                return Applied(done.record, HELD, done.happened)
            try:
                match step:
                    case Rest():
                        self._rest(step, done)
                    case Write():
                        await self._write(step, done)
                    case Remove():
                        removed_at = self._now()
                        await self._remove(step, done)
                    case Release():
                        removed_at = self._now()
                        await self._release(step.live)
                    case Gone():
                        now = self._now()
                        done.record = records.gone(self.want, done.record, removed_at or now, now)
                        done.trouble = _DONE
            except FleetbusError as error:
                done.trouble = troubles.of_cluster(error, self.want.entry)
                if isinstance(step, Remove) and step.moved:
                    # Else nobody would know the Secret at the earlier place any more.
                    done.record = record
            if done.trouble.status != "True" and done.trouble is not records.STARTING:
                break
        if done.trouble is not _DONE:
            done.record = records.with_trouble(self.want, done.record, done.trouble, self._now())
        return done

    def _now(self) -> datetime:
        return self.ports.clock.now()

    def _rest(self, step: Rest, done: Applied) -> None:
        done.trouble = step.trouble
        if done.record is not None and step.trouble.status == "True":
            done.record = records.seen_synced(self.want, done.record, step.trouble, self._now())

    async def _write(self, step: Write, done: Applied) -> None:
        entry = step.entry
        if self.ports.vault is None:
            done.trouble = troubles.NO_VAULT
            return
        try:
            secret = await self.ports.vault.read(entry.path)
        except FleetbusError as error:
            done.trouble = troubles.of_vault(error, entry, self.ports.identity.cluster.name)
            return
        unfit = _unfit(entry, secret)
        if unfit is not None:
            done.trouble = unfit
            return
        if not self.may_write():
            done.trouble = HELD
            return
        try:
            live = await self._put(entry, secret, step.uid)
        except KubeConflict as error:
            if step.uid:
                raise
            done.trouble = _taken(entry, error)
            return
        done.trouble = synced(secret.version)
        done.record = records.written(self.want, done.record, live, done.trouble, self._now(), step.before)
        if step.putting_back and live.resource_version != step.before:
            done.happened.append(_restored(self.want, live, made_again=not step.before))

    async def _put(self, entry: SecretEntry, secret: VaultSecret, uid: str) -> Live:
        """Server-side apply, forced where the Secret is ours; a type that changed means to make it anew."""
        body = _body(entry, secret)
        try:
            return await self._applied(entry, body, uid)
        except ApplyRefused as refused:
            # `type` cannot be changed. That it is the type is shown by a dry run under another name, which
            # must pass before the old Secret, the last good one, goes.
            if not uid or refused.status != _UNPROCESSABLE or not await self._fits(entry, body):
                raise
        await self.ports.kube.delete(SECRET, entry.namespace, entry.secret, uid=uid)
        return await self._applied(entry, body, "")

    async def _applied(self, entry: SecretEntry, body: dict[str, Any], uid: str) -> Live:
        metadata = body["metadata"] | ({"uid": uid} if uid else {})
        found = await self.ports.kube.apply(
            SECRET,
            entry.namespace,
            entry.secret,
            {**body, "metadata": metadata},
            field_manager=schema.FIELD_MANAGER,
            force=bool(uid),
            metadata_only=True,
        )
        return live_of(found)

    async def _fits(self, entry: SecretEntry, body: dict[str, Any]) -> bool:
        trial = {**body, "metadata": {**body["metadata"], "name": _TRIAL_NAME}}
        try:
            await self.ports.kube.apply(
                SECRET,
                entry.namespace,
                _TRIAL_NAME,
                trial,
                field_manager=schema.FIELD_MANAGER,
                dry_run=True,
                metadata_only=True,
            )
        except (ApplyRefused, KubeConflict):
            return False
        return True

    async def _remove(self, step: Remove, done: Applied) -> None:
        place = step.live.place
        await self.ports.kube.delete(SECRET, place.namespace, place.name, uid=step.live.uid)
        left = await look(self.ports.kube, place)
        if left is not None and left.uid == step.live.uid:
            done.trouble = held_by_finalizers(left)

    async def _release(self, live: Live) -> None:
        marks = (schema.VERSION_ANNOTATION, schema.BINDING_ANNOTATION)
        body = {
            "metadata": {
                "uid": live.uid,
                "labels": {schema.BINDING_LABEL: None},
                "annotations": dict.fromkeys(marks),
            }
        }
        await self.ports.kube.merge_patch(SECRET, live.place.namespace, live.place.name, body)


HELD = Trouble("Unknown", schema.REASON_PROGRESSING, "writes are halted or what is told has moved on", True)
_DONE = Trouble("False", schema.REASON_REMOVED, "")


def _unfit(entry: SecretEntry, secret: VaultSecret) -> Trouble | None:
    for key in entry.keys.values():
        if key not in secret.values:
            return troubles.key_missing(entry, key)
    for key in entry.keys or secret.values:
        if not _KEY.fullmatch(key):
            return troubles.key_unfit(entry, key)
    return None


def _body(entry: SecretEntry, secret: VaultSecret) -> dict[str, Any]:
    taken = {key: secret.values[source] for key, source in entry.keys.items()} or dict(secret.values)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": entry.secret,
            "namespace": entry.namespace,
            "labels": {schema.BINDING_LABEL: label_of(entry.name)},
            "annotations": {
                schema.VERSION_ANNOTATION: str(secret.version),
                schema.BINDING_ANNOTATION: entry.id,
            },
        },
        "type": entry.type,
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in sorted(taken.items())},
    }


def _taken(entry: SecretEntry, error: KubeConflict) -> Trouble:
    return Trouble(
        "False",
        schema.REASON_NOT_OURS,
        f"Secret {entry.namespace}/{entry.secret} was made by somebody else just now: {error.message}",
    )


def _restored(want: Wanted, live: Live, *, made_again: bool) -> Happened:
    what = "was deleted by hand and is made again" if made_again else "was changed by hand and is put back"
    return Happened(
        type=schema.EVENT_RESTORED,
        subject=f"secretbinding/{want.name}",
        reason=schema.REASON_RESTORED,
        message=f"Secret {live.place} {what}",
    )
