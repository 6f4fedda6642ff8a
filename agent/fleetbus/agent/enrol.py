"""How the agent becomes a member: with the join token in its Secret, by a key that it makes itself.

The key is in the Secret before it is first used, so an agent that dies at any moment goes on with the same one, and
an answer that was lost is asked for again. Everything that the token pins (root, controller, bus) is taken over once
the controller, whose key it pins, has answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import structlog
from nacl.signing import SigningKey

from fleetbus.agent.charter import known_charter
from fleetbus.agent.facts import NAMESPACE_KIND, agent_version
from fleetbus.agent.secret import change_secret, read_secret
from fleetbus.agent.settings import (
    CHARTER,
    JOIN,
    WHERE,
    AgentSettings,
    parse_proxy_setting,
    parse_settings,
)
from fleetbus.runtime.bus import BusSettings
from fleetbus.runtime.charter import read_charter
from fleetbus.runtime.clock import Clock
from fleetbus.runtime.failures import described
from fleetbus.runtime.loop import until_done
from fleetbus.runtime.ports import Bus, Kube
from fleetbus.runtime.trust import Trust
from fleetbus.schemas import subjects, vault_policies
from fleetbus.schemas.capabilities.clusters import REASON_KEY_REVOKED
from fleetbus.schemas.charter import Sealed, newest
from fleetbus.schemas.credentials import Credential
from fleetbus.schemas.enrolment import CredentialAnswer, CredentialRequest, JoinToken
from fleetbus.schemas.errors import (
    ApplyRefused,
    BusUnavailable,
    EnrolmentRefused,
    FleetbusError,
    NotFound,
    SettingsInvalid,
)
from fleetbus.schemas.nkeys import key_of_seed, public_key, seed_of
from fleetbus.schemas.signing import Sign, signer, verify

Connect = Callable[[BusSettings], AbstractAsyncContextManager[Bus]]

TOKEN, USED = "token", "token-used"
_NEXT_SEED, _NEXT_FOR = "next-seed", "next-for"
ASK_TIMEOUT_S = 10.0
AGAIN_S = 5.0
_LOOK_S = 0.02

log = structlog.get_logger("enrol")


async def enrolled(kube: Kube, clock: Clock, connect: Connect) -> AgentSettings:
    """The agent's settings, once it is a member: a token that lies there is used first.

    Raises SettingsInvalid (neither a token nor a membership, or one that cannot be read), EnrolmentRefused.
    """
    text = await until_done("settings", lambda: read_secret(kube), clock)
    if text.get(TOKEN):
        token = _token(text)
        if token is not None and token.id != text.get(USED):
            await _enrol(kube, clock, connect, token)
        text = await until_done("settings", lambda: change_secret(kube, _without_token), clock)
    return parse_settings(text)


def has_token(text: Mapping[str, str]) -> bool:
    """Whether somebody has put a token there that was not used yet."""
    return bool(text.get(TOKEN))


def _token(text: Mapping[str, str]) -> JoinToken | None:
    """None for one that cannot be read when the cluster is a member already. Raises SettingsInvalid."""
    try:
        return JoinToken.from_text(text[TOKEN])
    except SettingsInvalid as error:
        if text.get("jwt"):
            log.error("the join token is left out", reason=error.message)
            return None
        raise SettingsInvalid(f"key `{TOKEN}`: {error.message}", where=WHERE, remedy=JOIN) from error


async def _enrol(kube: Kube, clock: Clock, connect: Connect, token: JoinToken) -> None:
    cluster = token.cluster_id
    text = await until_done("key", lambda: change_secret(kube, lambda now: _with_key(now, token.id)), clock)
    key, token_key = key_of_seed(text[_NEXT_SEED]), key_of_seed(token.seed)
    credential = Credential(token.jwt, token.seed)
    settings = BusSettings(
        servers=token.bus_servers,
        credential=credential,
        inbox_prefix=subjects.personal_inbox(credential.nkey),
        name=f"enrolment of {cluster}",
        trust=Trust(ca_pem=token.bus_ca, certificate=token.certificate),
        insecure=token.insecure_dev,
        proxy=parse_proxy_setting(text),
    )
    charter = known_charter(text, token.root, token.fleet) if token.root else None
    async with connect(settings) as bus:
        asked = await until_done("cluster", lambda: credential_request(kube, clock, token.fleet, key), clock)
        former = _former(text, token)
        answer, charter = await _admission(bus, clock, token, asked, (token_key, key), former, charter)
    joined = joined_values(token, asked.uid, text[_NEXT_SEED], answer, charter)
    await until_done("settings", lambda: change_secret(kube, lambda now: _joined(now, joined)), clock)
    log.info("enrolled", cluster=cluster.name, realm=cluster.realm, key=asked.nkey)


async def _admission(
    bus: Bus,
    clock: Clock,
    token: JoinToken,
    asked: CredentialRequest,
    keys: tuple[SigningKey, ...],
    former: SigningKey | None,
    charter: Sealed | None,
) -> tuple[CredentialAnswer, Sealed | None]:
    """Asked until the answer lets this cluster in; with the newest charter by then. Raises EnrolmentRefused."""
    cluster = token.cluster_id
    while True:
        shown = asked.model_copy(update={"former": public_key(former) if former else ""})
        sign = signer(*keys, *([former] if former else []))
        await _reached(bus, clock)
        charter = newest(charter, await _charter(bus, token))
        controller = charter.charter.publish if charter else token.controller_keys
        try:
            answer = await ask(bus, subjects.enrol(cluster), shown, sign, frozenset(controller))
        except BusUnavailable as error:
            if bus.denied:
                message = "the bus does not know this token: it is too old, or of another fleet"
                raise EnrolmentRefused(message, where=WHERE, remedy=JOIN) from error
            log.warning("not enrolled yet", cluster=cluster.name, reason=described(error))
            await clock.sleep(clock.jitter(AGAIN_S))
            continue
        if answer.outcome == "admitted":
            return answer, charter
        if answer.reason == REASON_KEY_REVOKED and former is not None:
            # The cluster left the fleet once and was given a token again: it comes by its new key alone.
            log.warning("the former key is left out", cluster=cluster.name, reason=answer.message)
            former = None
            continue
        if answer.outcome == "refused":
            raise EnrolmentRefused(answer.message, where=WHERE, remedy=JOIN)
        log.warning("not enrolled yet", cluster=cluster.name, outcome=answer.outcome, reason=answer.message)
        await clock.sleep(clock.jitter(max(1.0, answer.again_in_s)))


async def _reached(bus: Bus, clock: Clock) -> None:
    """Until the bus is connected or has said no, or for as long as an answer is waited for."""
    end_s = clock.monotonic_s() + ASK_TIMEOUT_S
    while not (bus.connected or bus.denied) and clock.monotonic_s() < end_s:
        await clock.sleep(_LOOK_S)


async def _charter(bus: Bus, token: JoinToken) -> Sealed | None:
    """What the root has said since the token was made; None when that cannot be read, and the token's keys count."""
    try:
        return await read_charter(bus, token.root, token.fleet) if token.root else None
    except FleetbusError as error:
        log.debug("charter not read", reason=described(error))
        return None


def _former(text: Mapping[str, str], token: JoinToken) -> SigningKey | None:
    """The key that this cluster had in the same fleet under the same name."""
    same = all(text.get(key) == getattr(token, key) for key in ("fleet", "realm", "cluster"))
    try:
        key = key_of_seed(text["seed"]) if same and text.get("seed") else None
    except SettingsInvalid:
        return None
    return key if text.get("seed") != text.get(_NEXT_SEED) else None


async def credential_request(kube: Kube, clock: Clock, fleet: str, key: SigningKey) -> CredentialRequest:
    """What this cluster says of itself. Raises KubeUnavailable, ApplyRefused."""
    home = await kube.get(NAMESPACE_KIND, "", "kube-system", metadata_only=True)
    issuer = await _document(kube, "/.well-known/openid-configuration")
    keys = await _document(kube, "/openid/v1/jwks")
    return CredentialRequest(
        fleet=fleet,
        nkey=public_key(key),
        uid=str(home["metadata"]["uid"]),
        nonce=clock.identifier(),
        issuer=str(issuer.get("issuer") or ""),
        service_account_keys=tuple(one for one in keys.get("keys") or () if isinstance(one, dict)),
        agent_version=agent_version(),
    )


async def _document(kube: Kube, path: str) -> dict[str, Any]:
    try:
        return await kube.read_path(path)
    except (NotFound, ApplyRefused):
        return {}


async def ask(
    bus: Bus, subject: str, request: CredentialRequest, sign: Sign, controller_keys: frozenset[str]
) -> CredentialAnswer:
    """The controller's answer to this very request.

    Raises BusUnavailable: no connection, no controller, or an answer that is not the controller's.
    """
    try:
        message = await bus.request(subject, sign(subject, request.to_bytes()), timeout_s=ASK_TIMEOUT_S)
        answer = CredentialAnswer.from_bytes(verify(subject, message.data, controller_keys))
    except FleetbusError as error:
        raise BusUnavailable(f"no answer of the controller's: {error.message}", where=subject) from error
    if answer.nonce != request.nonce:
        raise BusUnavailable("an answer to another request", where=subject)
    return answer


def joined_values(
    token: JoinToken, uid: str, seed: str, answer: CredentialAnswer, charter: Sealed | None = None
) -> dict[str, str]:
    """What the Secret holds of a membership. Secret."""
    values = {
        "seed": seed,
        "jwt": answer.user,
        "renewer-jwt": answer.renewer,
        "fleet": token.fleet,
        "realm": token.realm,
        "cluster": token.cluster,
        "uid": uid,
        "bus-servers": ",".join(token.bus_servers),
        "bus-ca": token.bus_ca,
        "controller-keys": ",".join(token.controller_keys),
        "epoch": str(token.epoch),
        "root": token.root,
        "bus-insecure-dev": "true" if token.insecure_dev else "",
        "bus-certificate": answer.certificate,
        USED: token.id,
    }
    if charter is not None:
        values[CHARTER] = charter.envelope.decode()
    if token.vault is not None:
        values |= {
            "vault-address": token.vault.address,
            "vault-ca": token.vault.ca,
            "vault-mount": vault_policies.identity_name(token.cluster_id),
            "vault-role": vault_policies.ROLE,
        }
    return values


def _with_key(text: Mapping[str, str], token: str) -> dict[str, str]:
    if text.get(_NEXT_FOR) == token and text.get(_NEXT_SEED):
        return dict(text)
    return {**text, _NEXT_SEED: seed_of(SigningKey.generate()), _NEXT_FOR: token}


def _joined(text: Mapping[str, str], joined: Mapping[str, str]) -> dict[str, str]:
    # A charter of another root's says nothing here.
    return {**_without_token({key: value for key, value in text.items() if key != CHARTER}), **joined}


def _without_token(text: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in text.items() if key not in (TOKEN, _NEXT_SEED, _NEXT_FOR)}
