"""Findings of `doctor` about transport: plaintext, and certificates that have ended or end soon, as they are seen on
the wire of every server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import datetime, timedelta

from fleetbus.cli.checks import Check
from fleetbus.cli.text import counted
from fleetbus.client.context import Context, load_context
from fleetbus.runtime.clock import SystemClock
from fleetbus.runtime.nats_probe import certificate_ends_at
from fleetbus.runtime.nats_refusals import CERTIFICATE
from fleetbus.runtime.trust import Trust
from fleetbus.schemas.bus_address import parse_addresses
from fleetbus.schemas.errors import FleetbusError, SettingsInvalid

PLAINTEXT = "FB3008"
SOON = timedelta(days=30)
_RENEW = "fleetbus init --out DIR --renew-certificates && fleetbus init --out DIR --online"


async def transport_checks(name: str) -> list[Check]:
    """Of the servers and the authority that the context `name` ('' for the current one) has."""
    try:
        context = load_context(name)
        addresses = parse_addresses(context.servers, insecure=context.insecure)
    except SettingsInvalid:
        return []
    if context.insecure:
        why = "the fleet was made with --insecure-dev"
        fix = (
            "make a fleet without it, in a folder of its own: fleetbus init --out DIR --name NAME --host HOST"
        )
        effect = "whoever can listen on this machine's loopback reads what is on the bus"
        return [Check("bus", PLAINTEXT, "bad", "the bus has no TLS", why=why, effect=effect, fix=fix)]
    trust, now = Trust(ca_file=context.ca_file), SystemClock().now()
    looks = [
        _look(f"certificate of {one.host}:{one.port}", certificate_ends_at(one, trust, context.proxy), now)
        for one in addresses
    ]
    found = await asyncio.gather(_authority(context, trust, now), _own(context, now), *looks)
    wrong = [one for one in found if one is not None]
    good = f"TLS to {counted(len(addresses), 'server')}, no certificate ends within {SOON.days} days"
    return wrong or [Check("bus", CERTIFICATE, "good", good)]


async def _authority(context: Context, trust: Trust, now: datetime) -> Check | None:
    try:
        ends_at = await asyncio.to_thread(trust.authorities_end_at)
    except SettingsInvalid:
        return None
    fix = "take ca.crt of the fleet's folder again, once its owner has renewed it"
    return judge(f"authority {context.ca_file}", ends_at, now, fix) if ends_at else None


async def _own(context: Context, now: datetime) -> Check | None:
    """The certificate that the context shows, if its servers want one."""
    file = context.certificate_file
    if file is None:
        return None
    from fleetbus.runtime.certificates import expires_at

    try:
        ends_at = expires_at(await asyncio.to_thread(file.read_bytes))
    except (OSError, SettingsInvalid):
        text = f"the certificate of `{context.user}` cannot be read"
        return Check("bus", CERTIFICATE, "bad", text, why=str(file), fix="fleetbus init --out DIR")
    return judge(f"certificate {file}", ends_at, now, "fleetbus init --out DIR")


async def _look(what: str, looking: Awaitable[datetime], now: datetime) -> Check | None:
    try:
        return judge(what, await looking, now, _RENEW)
    except FleetbusError as error:
        if error.error_code != CERTIFICATE:
            # That one does not answer is said where it is connected to, or does not matter beside others that do.
            text = f"{what} was not seen: {error.message}"
            return Check("bus", CERTIFICATE, "warn", text, why=error.where, fix=error.remedy)
        return Check("bus", CERTIFICATE, "bad", error.message, why=error.where, fix=error.remedy)


def judge(what: str, ends_at: datetime, now: datetime, fix: str) -> Check | None:
    """None when it lasts."""
    if ends_at - now > SOON:
        return None
    day = f"{ends_at:%Y-%m-%d %H:%M} UTC"
    if ends_at <= now:
        return Check("bus", CERTIFICATE, "bad", f"{what} has ended on {day}", fix=fix)
    effect = "from then on nobody who checks it connects"
    return Check("bus", CERTIFICATE, "warn", f"{what} ends on {day}", effect=effect, fix=fix)
