"""The agent keeps its credential: renewed long before it ends, on its own connection; by the one that only renews
when it has ended all the same.

When a controller was away for days, every credential has lapsed. What runs in the clusters goes on; each agent asks
with growing pauses, and is back as soon as a controller answers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import structlog

from fleetbus.agent.charter import Trusted
from fleetbus.agent.enrol import Connect, ask, credential_request, has_token
from fleetbus.agent.secret import change_secret, read_secret
from fleetbus.agent.settings import WHERE, AgentSettings
from fleetbus.runtime.bus import BusSettings
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import described
from fleetbus.runtime.ports import Bus, Kube
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.enrolment import CredentialAnswer
from fleetbus.schemas.errors import (
    BusUnavailable,
    EnrolmentRefused,
    FleetbusError,
    SettingsInvalid,
    Transient,
)
from fleetbus.schemas.nkeys import key_of_seed
from fleetbus.schemas.signing import signer

LOOK_EVERY_S = 20.0
"""For a token that somebody has put into the Secret, and for a connection that the server has refused."""
CLAIM_TIMEOUT_S = 20.0
_MIDDLE, _SPREAD = 0.625, 0.2
"""Of a credential's life: between 50 and 75 % of it."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 120.0

log = structlog.get_logger("renew")


@dataclass(frozen=True, slots=True)
class Keeping:
    """What renewing needs: a member's settings, its bus, its cluster, and how to reach the bus as who only renews.

    `trust` is that of `bus`: what is replaced there counts for both.
    """

    settings: AgentSettings
    bus: Bus
    kube: Kube
    clock: Clock
    connect: Connect
    trust: Trust
    trusted: Trusted


async def keep_credential(keeping: Keeping) -> None:
    """Until a new token is found (returns), or cancelled."""
    clock, bus = keeping.clock, keeping.bus
    credential, failures = keeping.settings.credential, 0
    at_s = clock.monotonic_s() + due_in_s(credential, clock)
    while True:
        now_s = clock.monotonic_s()
        if now_s < at_s and not (bus.denied and not failures):
            await clock.sleep(min(at_s - now_s, clock.jitter(LOOK_EVERY_S)))
            if await _finds_token(keeping.kube):
                log.info("a new join token is there")
                return
            continue
        try:
            credential = await renew(replace_credential(keeping, credential))
        except (Transient, EnrolmentRefused) as error:
            failures += 1
            say = log.warning if failures == 1 else log.debug
            say("not renewed yet", reason=described(error), failures=failures)
            pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16))
            at_s = clock.monotonic_s() + clock.jitter(pause_s)
            continue
        failures = 0
        at_s = clock.monotonic_s() + due_in_s(credential, clock)
        log.info("renewed", until=credential.claims.expires_at)


def replace_credential(keeping: Keeping, credential: Credential) -> Keeping:
    return replace(keeping, settings=replace(keeping.settings, credential=credential))


def due_in_s(credential: Credential, clock: Clock) -> float:
    """When to renew: at a random 50 to 75 % of the credential's life; never for one that does not end."""
    claims = credential.claims
    if not claims.expires_at:
        return float("inf")
    lives_s = claims.expires_at - claims.issued_at
    return max(0.0, claims.issued_at + clock.jitter(lives_s * _MIDDLE, _SPREAD) - clock.now().timestamp())


async def renew(keeping: Keeping) -> Credential:
    """One renewal, kept in the Secret and in use. Raises Transient, EnrolmentRefused."""
    settings, bus = keeping.settings, keeping.bus
    answer = await _ask_over(keeping, bus) if bus.connected else None
    if answer is None:
        answer = await _ask_as_renewer(keeping)
    if answer.outcome != "admitted":
        raise EnrolmentRefused(answer.message, where=WHERE, remedy="join with a new token")
    made = Credential(answer.user, settings.credential.seed)
    kept = {"jwt": answer.user, "renewer-jwt": answer.renewer}
    kept |= {"bus-certificate": answer.certificate} if await _shows(keeping, answer.certificate) else {}
    await change_secret(keeping.kube, lambda text: {**text, **kept})
    try:
        await bus.change_credential(made)
    except BusUnavailable as error:
        # The connection that stands goes on; the next one is made with what was kept.
        log.warning("connected anew later", reason=described(error))
    return made


async def _shows(keeping: Keeping, certificate: str) -> bool:
    """Whether there is a new certificate, which is shown from the next connection on."""
    if not certificate:
        return False
    try:
        await asyncio.to_thread(keeping.trust.show, certificate, keeping.settings.credential.seed)
    except SettingsInvalid as error:
        log.error("the certificate is left out", reason=error.message)
        return False
    return True


async def tell_of_copy(keeping: Keeping) -> None:
    """Say to the controller that this cluster has another's membership, so that somebody hears of it. Never raises."""
    try:
        answer = await _ask_as_renewer(keeping)
    except FleetbusError as error:
        log.warning("the controller does not hear of this copy", reason=described(error))
    else:
        log.error("this cluster is a copy of another", outcome=answer.outcome, reason=answer.message)


async def _finds_token(kube: Kube) -> bool:
    try:
        return has_token(await read_secret(kube))
    except FleetbusError:
        return False


async def _ask_over(keeping: Keeping, bus: Bus) -> CredentialAnswer | None:
    """Over the agent's own connection; None when it has just ended."""
    settings, clock = keeping.settings, keeping.clock
    key = key_of_seed(settings.credential.seed)
    request = await credential_request(keeping.kube, clock, settings.identity.fleet, key)
    subject = subjects.renew(settings.identity.cluster)
    # Who was away while the controller's key was changed must know the new one to believe the answer.
    await keeping.trusted.look_first(bus)
    try:
        return await ask(bus, subject, request, signer(key), keeping.trusted.keys)
    except BusUnavailable:
        if bus.connected:
            raise
        return None


async def _ask_as_renewer(keeping: Keeping) -> CredentialAnswer:
    settings = keeping.settings
    if not settings.renewer:
        raise BusUnavailable("the Secret holds no credential that renews")
    credential = Credential(settings.renewer, settings.credential.seed)
    connecting = BusSettings(
        servers=settings.bus_servers,
        credential=credential,
        inbox_prefix=subjects.personal_inbox(credential.nkey),
        name=f"renewal of {settings.identity.cluster}",
        trust=keeping.trust,
        insecure=settings.insecure,
        proxy=settings.proxy,
    )
    async with keeping.connect(connecting) as bus:
        try:
            async with asyncio.timeout(CLAIM_TIMEOUT_S):
                await bus.wait_connected()
                answer = await _ask_over(keeping, bus)
        except TimeoutError as error:
            raise BusUnavailable("no connection to renew with") from error
    if answer is None:
        raise BusUnavailable("the connection ended")
    return answer
