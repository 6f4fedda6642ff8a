"""The program itself: it starts from a settings file, reads a folder of documents, ends on SIGTERM, survives -9."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from fleetbus.runtime.bus import NatsBus
from fleetbus.schemas.credentials import credential_text
from fleetbus.schemas.nkeys import seed_of
from tests.bus_server import FleetServer
from tests.integration.controller.people import CLOCK, SIGNING_KEY, Operator, events, program
from tests.waiting import wait_until

DOCUMENT = """
apiVersion: fleetbus.dev/v1alpha1
kind: Source
metadata: {name: %s}
spec: {git: {url: /nowhere}}
"""


def yaml_document(kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": "fleetbus.dev/v1alpha1", "kind": kind, "metadata": {"name": name}}


def settings_file(fleet: FleetServer, folder: Path) -> Path:
    (folder / "ca.crt").write_text(fleet.ca_pem)
    (folder / "controller.creds").write_text(credential_text(fleet.credentials["controller"]))
    (folder / "signing.seed").write_text(seed_of(SIGNING_KEY))
    (folder / "documents").mkdir()
    settings: dict[str, Any] = {
        "fleet": "test",
        "epoch": 1,
        "busServers": [fleet.server.url],
        "busCaFile": "ca.crt",
        "busCredentialFile": "controller.creds",
        "signingSeedFile": "signing.seed",
        "operators": {fleet.public_key("operator"): "ana"},
        "roleKeys": fleet.role_keys,
        "workDir": "work",
        "credentialsDir": None,
        "documentsDir": "documents",
    }
    path = folder / "controller.json"
    path.write_text(json.dumps(settings))
    return path


async def test_it_ends_cleanly_and_is_back_at_once_after_a_kill(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    settings = settings_file(fleet, tmp_path)
    async with program(settings) as first:
        await operator.wait_answered()
        first.kill()
        await first.wait()
    began_s = CLOCK.monotonic_s()
    async with program(settings) as second:
        await operator.wait_answered()
        assert CLOCK.monotonic_s() - began_s < 8
        second.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await second.wait() == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["term"] for line in lines if line["event"] == "leading"] == [1, 2]
    assert not [line for line in lines if line["level"] == "error"]


async def test_wrong_settings_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "controller.json"
    path.write_text('{"fleet": "x", "busSevers": []}')
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fleetbus.controller", "--config", str(path), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 1
    assert said.decode().count("\n") == 1
    assert "controller.json" in said.decode()
    assert "Traceback" not in said.decode()


async def test_a_folder_of_documents_is_applied_and_a_file_that_vanishes_deletes_nothing(
    fleet: FleetServer, bus: NatsBus, operator: Operator, tmp_path: Path
) -> None:
    settings = settings_file(fleet, tmp_path)
    folder = tmp_path / "documents"
    (folder / "a.yaml").write_text(DOCUMENT % "a")
    (folder / "broken.yaml").write_text("kind: [")
    (folder / "bytes.yml").write_bytes(b"\xff\xfe")

    async def names() -> list[str]:
        rows = (await operator.ask("list", {"kind": "Source"}))["rows"]
        return [row["document"]["metadata"]["name"] for row in rows]

    async def told() -> set[str]:
        return {one.subject for one in await events(bus) if one.short_type == "documents.file-refused"}

    async with program(settings):
        await operator.wait_answered()

        async def only_a() -> bool:
            return await names() == ["a"] and await told() == {"directory/broken.yaml", "directory/bytes.yml"}

        assert await wait_until(only_a, CLOCK, 10)
        (folder / "a.yaml").unlink()
        (folder / "broken.yaml").write_text(DOCUMENT % "b")
        os.mkfifo(folder / "pipe.yaml")

        async def both() -> bool:
            return await names() == ["a", "b"]

        assert await wait_until(both, CLOCK, 10)


BINDING = """
apiVersion: fleetbus.dev/v1alpha1
kind: SecretBinding
metadata: {name: db}
spec:
  vault: {shared: db}
  placement: {selector: {}}
  target: {namespace: apps, name: db}
  refresh: %s
"""


async def test_no_file_and_no_restart_undoes_what_an_operator_did(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    settings = settings_file(fleet, tmp_path)
    folder = tmp_path / "documents"
    (folder / "db.yaml").write_text(BINDING % "30s")
    (folder / "a.yaml").write_text(DOCUMENT % "a")

    async def row(kind: str) -> dict[str, Any]:
        rows = (await operator.ask("list", {"kind": kind}))["rows"]
        return rows[0] if rows else {}

    async def is_there() -> bool:
        return bool(await row("SecretBinding")) and bool(await row("Source"))

    async with program(settings) as first:
        await operator.wait_answered()
        assert await wait_until(is_there, CLOCK, 10)
        await operator.ask("revoke", {"name": "db", "reason": "leaked"})
        document = (await row("SecretBinding"))["document"]
        wanted = {key: document[key] for key in ("apiVersion", "kind", "metadata", "spec")}
        told = await operator.ask("apply", {"documents": [wanted]})
        assert [one["verb"] for one in told["applied"]] == ["unchanged"]
        assert told["warnings"] == ["SecretBinding db stays revoked until it is deleted and applied anew"]
        changed = (await row("Source"))["document"]["spec"] | {"interval": "7m"}
        await operator.apply({**yaml_document("Source", "a"), "spec": changed})
        # What was applied is written down at the end of a round.
        await CLOCK.sleep(3)
        first.kill()
        await first.wait()

    async with program(settings):
        await operator.wait_answered()
        (folder / "db.yaml").write_text(BINDING % "45s")

        async def applied() -> bool:
            spec: dict[str, Any] = (await row("SecretBinding"))["document"]["spec"]
            return bool(spec["refresh"] == "45s")

        assert await wait_until(applied, CLOCK, 10)
        revoked = (await row("SecretBinding"))["live"]["revoked"]
        assert (revoked["by"], revoked["reason"]) == ("ana", "leaked")
        assert (await row("Source"))["document"]["spec"]["interval"] == "7m"


async def test_broken_settings_are_a_problem_of_the_fleet(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    path = settings_file(fleet, tmp_path)
    whole = path.read_text()

    async def problems() -> list[str]:
        return [one["object"] for one in (await operator.ask("overview", {}))["problems"]]

    async with program(path):
        await operator.wait_answered()
        assert await problems() == []
        path.write_text(whole[:-1])
        assert await problems() == ["controller/settings"]
        path.write_text(whole)
        assert await problems() == []
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in lines].count("the settings cannot be read again") == 1


async def test_a_new_operator_is_known_without_a_restart(
    fleet: FleetServer, operator: Operator, tmp_path: Path
) -> None:
    path = settings_file(fleet, tmp_path)
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "operators": {}}))
    async with program(path):
        await CLOCK.sleep(1)
        path.write_text(json.dumps(settings))
        await operator.wait_answered()
