"""The streams of a simulated bus: last value, history, fences, per-message TTL, transform, atomic batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetbus.runtime.ports import Message, Put
from fleetbus.schemas import subjects
from fleetbus.schemas.errors import BusUnavailable, MessageMalformed, SequenceConflict
from fleetbus.schemas.limits import MAX_PAYLOAD_BYTES
from fleetbus.schemas.streams import Stream

_SUPERSEDED = 16


@dataclass(frozen=True, slots=True)
class Kept:
    """One stored message, and when it goes by itself."""

    message: Message
    at: datetime
    expires_at: datetime | None


class SimulatedStream:
    """One stream as the contract configures it. Values that were replaced stay readable for a lagging replica."""

    def __init__(self, config: Stream) -> None:
        self.config = config
        self.last = 0
        self._kept: dict[str, list[Kept]] = {}
        self._gone: dict[str, list[Kept]] = {}

    def owns(self, subject: str) -> bool:
        return any(subjects.matches(pattern, subject) for pattern in self.config.subjects)

    def copies(self, other: SimulatedStream, message: Message) -> bool:
        """Whether the server copies a message that the other stream has stored into this one."""
        wanted = self.config.copied_from
        return (
            wanted is not None
            and wanted[0] == other.config.name
            and subjects.matches(wanted[1], message.subject)
        )

    def stored_subject(self, subject: str) -> str:
        """EVENTS stores `emit` as `event`; every other stream what was written."""
        transform = self.config.transform
        if transform is None:
            return subject
        return transform["dest"].removesuffix(">") + subject.removeprefix(transform["src"].removesuffix(">"))

    def check(self, put: Put, now: datetime) -> None:
        """Raises what the server would refuse the message for."""
        if len(put.data) > min(self.config.max_msg_size, MAX_PAYLOAD_BYTES):
            raise MessageMalformed("message size exceeds maximum allowed", where=put.subject)
        if put.ttl_s is not None and not self.config.ttl:
            raise MessageMalformed("per-message TTL is disabled", where=put.subject)
        if put.expected is None:
            return
        last = self.find(put.expected_subject or self.stored_subject(put.subject), now)
        if put.expected != (last.sequence if last else 0):
            raise SequenceConflict(f"wrong last sequence: {last.sequence if last else 0}", where=put.subject)

    def check_batch(self, puts: Sequence[Put], now: datetime) -> None:
        if not self.config.atomic:
            raise MessageMalformed("atomic publish is disabled", where=puts[0].subject)
        written: set[str] = set()
        for put in puts:
            if not self.owns(put.subject):
                raise MessageMalformed("atomic publish batch is incomplete", where=put.subject)
            self.check(put, now)
            own = put.expected_subject in (None, put.subject)
            if put.expected is not None and own and put.subject in written:
                raise SequenceConflict("wrong last sequence", where=put.subject)
            written.add(put.subject)

    def store(self, put: Put, now: datetime) -> Message:
        self.last += 1
        subject = self.stored_subject(put.subject)
        message = Message(subject, put.data, "", dict(put.headers), self.last, now)
        expires_at = now + timedelta(seconds=put.ttl_s) if put.ttl_s else None
        kept = self._kept.setdefault(subject, [])
        kept.append(Kept(message, now, expires_at))
        if self.config.history > 0:
            while len(kept) > self.config.history:
                gone = self._gone.setdefault(subject, [])
                gone.append(kept.pop(0))
                del gone[:-_SUPERSEDED]
        return message

    def matching(self, pattern: str, now: datetime) -> list[Message]:
        """Stored messages in the order of their sequences."""
        found = [kept.message for kept in self._living(pattern, now)]
        return sorted(found, key=lambda message: message.sequence)

    def find(self, pattern: str, now: datetime, as_of: datetime | None = None) -> Message | None:
        """The last message; with `as_of` the one that a replica gives which stands still since then."""
        candidates: Iterable[Kept] = self._living(pattern, now)
        if as_of is not None:
            gone = [
                kept for name, old in self._gone.items() if subjects.matches(pattern, name) for kept in old
            ]
            candidates = [kept for kept in (*gone, *candidates) if kept.at <= as_of]
        return max((kept.message for kept in candidates), key=lambda message: message.sequence, default=None)

    def last_per_subject(self, pattern: str, now: datetime) -> list[Message]:
        newest = {message.subject: message for message in self.matching(pattern, now)}
        return sorted(newest.values(), key=lambda message: message.sequence)

    def purge(self, pattern: str, now: datetime) -> list[Message]:
        purged = self.matching(pattern, now)
        for name in {message.subject for message in purged}:
            self._kept.pop(name)
        return purged

    def nudges(self, message: Message) -> Iterator[Message]:
        """What the stream republishes: DESIRED headers only, EVENTS the whole message."""
        headers = dict(message.headers) | {
            "Nats-Stream": self.config.name,
            "Nats-Subject": message.subject,
            "Nats-Sequence": str(message.sequence),
        }
        republish = self.config.republish
        if republish is None or not subjects.matches(republish["src"], message.subject):
            return
        if not republish.get("headers_only"):
            yield Message(message.subject, message.data, "", headers, message.sequence, message.stored_at)
            return
        which, realm, cluster = message.subject.split(".")[2:]
        subject = subjects.nudge(subjects.ClusterId(realm, cluster), which)
        yield Message(subject, b"", "", headers, message.sequence, message.stored_at)

    def _living(self, pattern: str, now: datetime) -> Iterator[Kept]:
        exact = self._kept.get(pattern)
        lists = (
            [exact or []]
            if "*" not in pattern and ">" not in pattern
            else [kept for name, kept in self._kept.items() if subjects.matches(pattern, name)]
        )
        for kept in lists:
            kept[:] = [one for one in kept if one.expires_at is None or one.expires_at > now]
            yield from kept


def owner(streams: Iterable[SimulatedStream], subject: str) -> SimulatedStream:
    """The stream that a write goes to. Raises BusUnavailable, as nobody acknowledges it."""
    for stream in streams:
        if stream.owns(subject):
            return stream
    raise BusUnavailable("nobody answers there", where=subject)
