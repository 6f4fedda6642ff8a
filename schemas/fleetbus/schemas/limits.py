"""What each user, account, stream and cluster may use at most: the numbers' one place, of which a page is made.

Chosen so that who floods takes from himself first: decision 20 says why each is what it is.
"""

from __future__ import annotations

KIB, MIB, GIB = 1024, 1024**2, 1024**3

MAX_PAYLOAD_BYTES = MIB
"""Of a message on the bus."""
MAX_STATE_BYTES = 512 * KIB
"""Of one aspect of a cluster's state. The stream refuses more, where the server would end the connection."""
MAX_EVENT_BYTES = 64 * KIB
SMALL_PAYLOAD_BYTES = 64 * KIB
"""Of who only asks: a subscriber, and whoever is no member yet, whose request holds a cluster's ServiceAccount keys."""

AGENT_SUBSCRIPTIONS = 10
"""An agent has four."""
PERSON_SUBSCRIPTIONS = 64
"""A client has one for each thing that it follows."""
ENROL_SUBSCRIPTIONS = 4

CONNECTIONS_AN_AGENT = 2
"""While one pod takes over from another."""
CONNECTIONS_A_PERSON = 32
"""Each command and each program that listens has one."""
SPARE_CONNECTIONS = 16
LEAST_AGENTS, LEAST_PEOPLE = 64, 8
"""For so many an account has room from the start."""
ENROL_CONNECTIONS = 512
"""Those that join or come back at one moment; whoever finds no room asks again after a pause."""

MAX_PENDING_BYTES = 16 * MIB
"""What a server keeps for a connection that does not read, before it ends it."""
WRITE_DEADLINE_S = 10
PING_INTERVAL_S, PINGS_MISSED = 3, 2
MAX_CONTROL_LINE_BYTES = 4 * KIB
MAX_SUBSCRIPTION_TOKENS = 16
"""The longest subject on the bus has eleven."""
HANDSHAKE_S = 5
STREAM_QUEUE = 2000
"""Writes that wait for one stream: two of the controller's largest batches. Beyond it a write is refused for now."""

EVENTS_KEPT_S = 7 * 24 * 3600
EVENTS_BYTES = 2 * GIB
EVENTS_BURST = 500
"""Events of one cluster that go out at once, after it was quiet; one above a KiB counts for as many as it has KiB."""
EVENTS_PER_S = 0.5
"""In the long run: a week of it is a seventh of what EVENTS holds."""
BEAT_AT_MOST_EVERY_S = 1.0
"""A cluster's heartbeat that comes sooner after the last is not looked at."""
MESSAGES_PER_S = 100
"""States and heartbeats of one cluster, on average over a few seconds: more is a flood. An agent sends one in a few."""
FLOOD_OVER_AFTER_S = 60
"""So long after it was seen last it is over."""
REQUESTS_AT_ONCE = 64
"""That the controller answers at a time."""
REQUESTS_AT_ONCE_EACH = 16
"""Of one operator: what he asks beyond it is refused, and can be asked again."""
