"""What an operator has in an end-to-end test: the command, a Git repository, the clusters, a subscriber."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleetbus.client import Fleet
from fleetbus.local.demo.repository import Repository
from fleetbus.local.demo.witness import Witness
from fleetbus.local.fleet import LocalFleet
from fleetbus.local.shells import shell_environment
from fleetbus.runtime.clock import SystemClock
from fleetbus.schemas.catalogue import kind_named
from fleetbus.schemas.errors import KubeUnavailable, NotFound, Transient

CLOCK = SystemClock()
_COMMAND_S = 120.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(slots=True)
class Operator:
    """Types commands into a shell whose variables are those of `fleetbus local env`."""

    fleet: LocalFleet
    client: Fleet
    witness: Witness
    folder: Path

    async def ask(
        self, *words: str | Path, stdin: str = "", environment: Mapping[str, str] | None = None
    ) -> Said:
        """Any command, whatever its exit code. No traceback is ever shown to who types it."""
        child = await asyncio.create_subprocess_exec(
            *(str(word) for word in words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=shell_environment(self.fleet.shell_variables()) | dict(environment or {}),
            cwd=self.folder,
        )
        try:
            async with asyncio.timeout(_COMMAND_S):
                out, err = await child.communicate(stdin.encode())
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        said = Said(child.returncode or 0, out.decode(), err.decode())
        assert "Traceback" not in said.out + said.err, said
        assert "FB0001" not in said.err, said
        return said

    async def run(self, *words: str | Path, code: int = 0, stdin: str = "") -> Said:
        """`fleetbus WORDS`, which ends with `code`."""
        said = await self.ask("fleetbus", *words, stdin=stdin)
        assert said.code == code, f"fleetbus {' '.join(map(str, words))}: {said}"
        return said

    async def apply(self, *documents: Mapping[str, Any], code: int = 0, wait: bool = False) -> Said:
        """Documents as JSON, which is YAML."""
        text = "\n---\n".join(json.dumps(document) for document in documents)
        return await self.run("apply", "-f", "-", *(["--wait"] if wait else []), stdin=text, code=code)

    async def condition(self, reference: str, type_: str = "Ready") -> dict[str, Any]:
        """By the client, not by the command: it is asked often."""
        word, _, name = reference.partition("/")
        try:
            rows = (await self.client.list(kind_named(word) or word, names=(name,))).rows
        except Transient as error:
            return {"status": "Unknown", "reason": "", "message": error.message}
        conditions = (rows[0].document.get("status") or {}).get("conditions", []) if rows else []
        return next((one for one in conditions if one["type"] == type_), {"status": "Unknown", "reason": ""})

    async def until_condition(
        self, reference: str, type_: str, *, status: str = "", reason: str = "", timeout_s: float = 60
    ) -> dict[str, Any]:
        """The condition once it has this status and reason."""
        found: dict[str, Any] = {}

        async def so() -> bool:
            nonlocal found
            found = await self.condition(reference, type_)
            return status in ("", found["status"]) and reason in ("", found["reason"])

        await until(so, lambda: f"{reference} {type_} is {found}", timeout_s)
        return found

    async def read(self, cluster: str, path: str) -> dict[str, Any] | None:
        """An object as the apiserver has it; None when it is not there, or the apiserver is not."""
        try:
            return await self.fleet.clusters[cluster].admin.get(path)
        except (NotFound, KubeUnavailable):
            return None

    async def value(self, cluster: str, namespace: str, name: str, key: str = "value") -> str | None:
        """A value of a ConfigMap."""
        found = await self.read(cluster, f"/api/v1/namespaces/{namespace}/configmaps/{name}")
        return None if found is None else found.get("data", {}).get(key)

    async def secret(self, cluster: str, namespace: str, name: str, key: str = "value") -> str | None:
        found = await self.read(cluster, f"/api/v1/namespaces/{namespace}/secrets/{name}")
        return None if found is None else base64.b64decode(found["data"][key]).decode()

    async def until_value(
        self,
        wanted: Mapping[str, str | None],
        namespace: str,
        name: str,
        key: str = "value",
        timeout_s: float = 60,
    ) -> None:
        """Until each cluster has its value of a ConfigMap; None: it is not there."""
        seen: dict[str, str | None] = {}

        async def so() -> bool:
            for cluster in wanted:
                seen[cluster] = await self.value(cluster, namespace, name, key)
            return seen == dict(wanted)

        await until(so, lambda: f"{namespace}/{name}: {seen}", timeout_s)

    async def put_secret(self, path: str, **values: str) -> None:
        pairs = [f"{key}={value}" for key, value in values.items()]
        said = await self.ask("bao", "kv", "put", f"secret/{path}", *pairs)
        assert said.code == 0, said

    async def command(self, cluster: str, *words: str) -> str:
        """The id of a command that was issued."""
        said = await self.run("command", "run", "--cluster", cluster, *words, "-o", "name")
        return said.out.strip().removeprefix("command/")

    async def phase(self, identifier: str) -> str:
        try:
            rows = await self.client.list_commands()
        except Transient as error:
            return error.message
        return next((row.phase for row in rows if row.id == identifier), "not listed")

    async def until_phase(self, identifier: str, *phases: str, timeout_s: float = 60) -> str:
        found = ""

        async def so() -> bool:
            nonlocal found
            found = await self.phase(identifier)
            return found in phases

        await until(so, lambda: f"command {identifier} is {found}", timeout_s)
        return found

    async def effects(self, cluster: str, identifier: str) -> int:
        """How often a rehearsal or a Job took effect: objects in the cluster with its label."""
        count = 0
        for path in ("/api/v1/configmaps", "/apis/batch/v1/jobs"):
            found = await self.fleet.clusters[cluster].admin.get(
                path, labelSelector=f"fleetbus.dev/command={identifier}"
            )
            for item in found["items"]:
                count += int(item.get("data", {}).get("effects", "1"))
        return count

    async def until_event(
        self, type_: str, subject: str, cluster: str | None = None, timeout_s: float = 30
    ) -> None:
        """Until the subscriber has seen it."""
        await until(
            lambda: _soon(bool(self.events(type_, subject, cluster))),
            lambda: f"{type_} of {subject}: {[one.short_type for one in self.witness.events[-20:]]}",
            timeout_s,
        )

    def events(self, type_: str, subject: str, cluster: str | None = None) -> list[Any]:
        return [
            one
            for one in self.witness.events
            if one.short_type == type_ and one.subject == subject and cluster in (None, one.cluster)
        ]

    async def settled(self, *, timeout_s: float = 120) -> None:
        """Every cluster is Ready, and the subscriber has seen every event once and in order."""
        await self.fleet.wait_ready(timeout_s)
        async with self.fleet.connect("events") as fleet:
            stored = [event.sequence async for event in fleet.events(since=0, follow=False)]
        await until(
            lambda: _soon({one.sequence for one in self.witness.events} >= set(stored)),
            lambda: f"{len(self.witness.events)} of {len(stored)} events were seen",
            30,
        )
        sequences = [event.sequence for event in self.witness.events]
        assert sequences == sorted(sequences)
        assert self.witness.doubled() == []
        assert self.witness.missing() == []


async def until(
    so: Callable[[], Awaitable[bool]], seen: Callable[[], str], timeout_s: float, every_s: float = 0.05
) -> None:
    """Ask until it is so; the test fails with what was seen instead."""
    end = CLOCK.monotonic_s() + timeout_s
    while not await so():
        if CLOCK.monotonic_s() > end:
            pytest.fail(f"after {timeout_s:g} s: {seen()}")
        await CLOCK.sleep(every_s)


async def _soon(value: bool) -> bool:
    return value


def config_map(namespace: str, name: str, value: str) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace},
            "data": {"value": value},
        }
    )


def namespace(name: str, **labels: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


def source(name: str, repository: Repository, **ref: str) -> dict[str, Any]:
    git: dict[str, Any] = {"url": repository.url, "ref": ref or {"branch": "main"}}
    return _document("Source", name, {"git": git, "interval": "10m"})


def bundle(name: str, placement: Mapping[str, Any], path: str = ".", **more: Any) -> dict[str, Any]:
    """A bundle of the source of the same name."""
    return _document("Bundle", name, {"source": name, "path": path, "placement": dict(placement)} | more)


def binding(name: str, clusters: list[str], vault: Mapping[str, str], namespace: str) -> dict[str, Any]:
    spec = {
        "vault": dict(vault),
        "placement": {"clusters": clusters},
        "target": {"namespace": namespace, "name": name},
        "refresh": "1s",
    }
    return _document("SecretBinding", name, spec)


def _document(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "fleetbus.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": dict(spec),
    }
