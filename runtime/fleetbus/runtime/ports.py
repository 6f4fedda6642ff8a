"""The small protocols through which everything above `runtime` sees the world: Bus, Kube, Vault, Signer.

Real: `bus.py`, `kube.py`, `vault.py`. Simulated: `tests/simulation/`. Both pass the suites in `tests/suites/`.
Every call has a time limit of its own and raises only errors of `fleetbus.schemas.errors`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from fleetbus.runtime.clock import Clock
from fleetbus.schemas.credentials import Credential

__all__ = [
    "CAUGHT_UP",
    "Bus",
    "CaughtUp",
    "Clock",
    "Kube",
    "KubeEvent",
    "Message",
    "Put",
    "Resource",
    "Signer",
    "Subscription",
    "Vault",
    "VaultSecret",
]


@dataclass(frozen=True, slots=True)
class Message:
    """What came off the bus. Text is escaped where a peer sent bytes that are not UTF-8.

    `sequence` and `stored_at` are set for what a stream stored or republished (0 and None otherwise).
    """

    subject: str
    data: bytes
    reply: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    sequence: int = 0
    stored_at: datetime | None = None


class CaughtUp:
    """Marker in a followed stream: everything that was stored when the reading began has been given."""


CAUGHT_UP = CaughtUp()


@dataclass(frozen=True, slots=True)
class Put:
    """One write to a stream.

    `expected`: the last sequence that `expected_subject` (default: the subject itself; may hold wildcards)
    must have, 0 for none; None writes whatever stands there. `ttl_s` in whole seconds.
    """

    subject: str
    data: bytes
    expected: int | None = None
    expected_subject: str | None = None
    ttl_s: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Subscription(Protocol):
    """A live subscription: iterate for messages, ends when its context ends. Survives reconnects."""

    def __aiter__(self) -> AsyncIterator[Message]: ...

    async def __anext__(self) -> Message: ...


class Bus(Protocol):
    """NATS as both sides see it. Raises BusUnavailable, SequenceConflict, NotPermitted, MessageMalformed."""

    @property
    def connected(self) -> bool: ...

    @property
    def connection(self) -> int:
        """Counts connections made so far; it moves when the bus was away in between."""
        ...

    @property
    def server(self) -> str:
        """The name of the server to which it is, or was last, connected; empty before the first."""
        ...

    async def wait_connected(self) -> None: ...

    async def connection_changed(self, seen: int) -> int:
        """Wait until `connection` differs from `seen` and the bus is connected; the new count."""
        ...

    async def reconnect(self) -> None:
        """Leave this connection and connect again, to another server where there is one."""
        ...

    @property
    def denied(self) -> bool:
        """Whether the server has refused this credential, or ended its connection for it, and no other stands."""
        ...

    async def change_credential(self, credential: Credential) -> None:
        """Go on with another credential of the same user, without a gap: the next connection stands, with all
        subscriptions, before this one ends; what is on its way twice is given twice. The count of connections moves.

        BusUnavailable when no connection can be made with it; then the present one stays while it lasts.
        """
        ...

    async def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """At most once; nothing is buffered while there is no connection (BusUnavailable)."""
        ...

    async def request(
        self, subject: str, data: bytes, *, timeout_s: float = 5.0, headers: Mapping[str, str] | None = None
    ) -> Message: ...

    def subscribe(
        self, subject: str, *, queue: str = "", capacity: int = 4096
    ) -> AbstractAsyncContextManager[Subscription]:
        """Registered at the server before the context is entered. Beyond `capacity` the oldest is dropped."""
        ...

    async def serve(
        self,
        name: str,
        version: str,
        description: str,
        endpoints: Mapping[str, str],
        answer: Callable[[str, Message], Awaitable[bytes]],
    ) -> None:
        """A NATS micro service (visible to `nats service ls`) until cancelled; `endpoints`: name → subject.

        `answer(endpoint, message)` gives the reply's bytes. At most 64 run at once.
        """
        ...

    async def put(self, put: Put) -> int:
        """Write to the stream that owns the subject; its sequence. SequenceConflict when `expected` fails."""
        ...

    async def put_batch(self, puts: Sequence[Put]) -> int:
        """All or nothing, at most 1,000; the last sequence."""
        ...

    async def get_last(self, stream: str, subject: str) -> Message | None:
        """The last stored value of a subject (wildcards: the last of them) by direct get."""
        ...

    async def get_many(
        self, stream: str, subject: str, *, after: int = 0, since: datetime | None = None, limit: int = 1000
    ) -> list[Message]:
        """Stored messages with a sequence above `after` (or from a time on), oldest first, by batch direct get."""
        ...

    async def get_at(self, stream: str, sequence: int) -> Message | None:
        """One stored message by its sequence (controller only)."""
        ...

    def follow(self, stream: str, subject: str) -> AsyncGenerator[Message | CaughtUp, None]:
        """Last value of every matching subject, CAUGHT_UP, then every write in order; survives reconnects.

        After a reconnect nothing is lost; a value may be given again, never an older one after a newer.
        A removed subject is given as a message with header `Fleetbus-Removed: 1` after a purge through
        `purge`, as JetStream itself says nothing; its sequence is the last that the purge could take.
        Iterate inside `contextlib.aclosing`, so that what reads on the server ends with the iteration.
        """
        ...

    async def purge(self, stream: str, subject: str) -> int:
        """Remove all stored values of a subject; how many."""
        ...


@dataclass(frozen=True, slots=True)
class Resource:
    """Where objects of one kind live: group, version, plural, kind, and whether in namespaces."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


@dataclass(frozen=True, slots=True)
class KubeEvent:
    """One line of a watch: ADDED, MODIFIED, DELETED, or SYNCED once everything at its start was given."""

    type: str
    object: dict[str, Any]


class Kube(Protocol):
    """One cluster's API, as plain dicts.

    Raises KubeUnavailable (5xx, 429, no answer), KubeConflict (409 on an update), AlreadyExists (409 on a
    create), NotFound (404), ApplyRefused (400, 403, 405, 413, 422, and the 500 of a schema error in apply).
    """

    async def resource(self, api_version: str, kind: str) -> Resource:
        """From discovery, cached; looked up again once when unknown. NotFound when the API has no such kind."""
        ...

    async def resources(self) -> list[Resource]:
        """Everything discovery names at the preferred versions, without subresources."""
        ...

    async def version(self) -> str: ...

    async def read_path(self, path: str) -> dict[str, Any]:
        """A raw GET of a JSON document such as `/openid/v1/jwks`."""
        ...

    async def get(
        self, resource: Resource, namespace: str, name: str, *, metadata_only: bool = False
    ) -> dict[str, Any]: ...

    async def list(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        metadata_only: bool = False,
    ) -> list[dict[str, Any]]: ...

    async def create(self, resource: Resource, namespace: str, body: dict[str, Any]) -> dict[str, Any]: ...

    async def replace(
        self, resource: Resource, namespace: str, name: str, body: dict[str, Any]
    ) -> dict[str, Any]:
        """PUT; with `metadata.resourceVersion` in the body it is refused (KubeConflict) when that is old."""
        ...

    async def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: dict[str, Any] | bytes,
        *,
        field_manager: str,
        force: bool = False,
        dry_run: bool = False,
        metadata_only: bool = False,
    ) -> dict[str, Any]:
        """Server-side apply. A field conflict raises KubeConflict whose message names fields and managers."""
        ...

    async def merge_patch(
        self, resource: Resource, namespace: str, name: str, body: dict[str, Any]
    ) -> dict[str, Any]: ...

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        propagation: str = "Background",
        uid: str = "",
        resource_version: str = "",
    ) -> None:
        """Asks for deletion; a missing object is not an error. `uid`/`resource_version` are preconditions."""
        ...

    def watch(
        self,
        resource: Resource,
        *,
        namespace: str = "",
        label_selector: str = "",
        metadata_only: bool = True,
    ) -> AsyncGenerator[KubeEvent, None]:
        """Streaming list, then changes, for ever: relists on 410, resumes after a cut with back-off.

        After each (re)list: the objects as ADDED, DELETED for those that vanished meanwhile, then SYNCED.
        Iterate inside `contextlib.aclosing`, so that the connection ends with the iteration.
        """
        ...


@dataclass(frozen=True, slots=True)
class VaultSecret:
    """One version of a KV v2 secret. `values` never leave the process but into the bound Secret."""

    version: int
    values: Mapping[str, str] = field(repr=False)


class Vault(Protocol):
    """Vault as a cluster sees it. Raises VaultUnavailable, VaultForbidden, NotFound."""

    async def read(self, path: str) -> VaultSecret:
        """The newest version at `path` below the KV v2 mount. NotFound also for a deleted or destroyed one."""
        ...

    async def version(self, path: str) -> int:
        """The newest version's number without its values (0 when deleted); one light read."""
        ...


class Signer(Protocol):
    """An Ed25519 key that signs, wherever its private half lives."""

    @property
    def public_key(self) -> str:
        """Its public nkey."""

    async def sign(self, content: bytes) -> bytes:
        """The signature, 64 bytes. Raises VaultUnavailable, VaultForbidden where the key lives in Vault."""
