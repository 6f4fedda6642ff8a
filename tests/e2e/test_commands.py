"""Orders to one cluster: carried out once, with progress and a result; cancelled, failed, too late."""

from __future__ import annotations

from tests.e2e.operator_story import Operator


async def test_a_job_runs_and_its_result_comes_back(operator: Operator) -> None:
    said = await operator.run(
        *("command", "run", "--cluster", "prod-us", "--arg", "image=registry.example.com/upgrade:2", "--wait")
    )
    assert "Succeeded" in said.out
    row = (await operator.run("command", "list", "--cluster", "prod-us", "-o", "json")).json[0]
    assert row["progressPercent"] == 100
    assert await operator.effects("prod-us", row["id"]) == 1
    for type_ in ("command.issued", "command.started", "command.succeeded"):
        await operator.until_event(type_, f"command/{row['id']}", "prod-us")
        assert len(operator.events(type_, f"command/{row['id']}")) == 1


async def test_a_job_that_fails_is_a_failure(operator: Operator) -> None:
    said = await operator.run(
        *("command", "run", "--cluster", "dev-eu", "--arg", "image=registry.example.com/upgrade:2", "--wait"),
        *("--arg", "podLabels={stage.fleetbus.dev/outcome: fail}"),
        code=1,
    )
    assert "Failed" in said.out


async def test_a_hanging_command_is_cancelled(operator: Operator) -> None:
    identifier = await operator.command("dev-eu", "--driver", "rehearsal", "--arg", "outcome=hangs")
    await operator.until_phase(identifier, "Running")

    await operator.run("command", "cancel", identifier)

    assert await operator.until_phase(identifier, "Cancelled", "Succeeded", "Failed") == "Cancelled"
    await operator.until_event("command.cancelled", f"command/{identifier}")


async def test_a_command_past_its_deadline_expires(operator: Operator) -> None:
    """One at a time: the second waits for the first until it is too late, and then never starts."""
    first = await operator.command("dev-eu", "--driver", "rehearsal", "--arg", "outcome=hangs")
    try:
        await operator.until_phase(first, "Running")

        said = await operator.run(
            *("command", "run", "--cluster", "dev-eu", "--driver", "rehearsal", "--deadline", "2s", "--wait"),
            code=1,
        )

        assert "Expired" in said.out
        assert "deadline" in said.out
        identifier = said.out.split()[0].removeprefix("command/")
        await operator.until_event("command.expired", f"command/{identifier}")
    finally:
        await operator.run("command", "cancel", first)
    await operator.until_phase(first, "Cancelled")
    assert await operator.effects("dev-eu", identifier) == 0


async def test_commands_run_in_their_order_and_once(operator: Operator) -> None:
    identifiers = [
        await operator.command("staging-eu", "--driver", "rehearsal", "--arg", "steps=2") for _ in range(4)
    ]
    for identifier in identifiers:
        await operator.until_phase(identifier, "Succeeded")
        await operator.until_event("command.succeeded", f"command/{identifier}")
        assert await operator.effects("staging-eu", identifier) == 1
    started = [
        one.subject.removeprefix("command/")
        for one in operator.witness.events
        if one.short_type == "command.started" and one.subject.removeprefix("command/") in identifiers
    ]
    assert started == identifiers


async def test_an_agent_that_dies_of_a_command_does_not_run_it_twice(operator: Operator) -> None:
    identifier = await operator.command("staging-eu", "--driver", "rehearsal", "--arg", "outcome=dies")

    await operator.until_phase(identifier, "Succeeded", timeout_s=90)

    assert await operator.effects("staging-eu", identifier) == 1
    await operator.until_event("command.succeeded", f"command/{identifier}")
    await operator.settled()
