"""One connection pool to one API server: the REST transport of kubernetes.aio and nothing else of it.

`kubernetes/__init__.py` and `kubernetes/aio/__init__.py` import every client, the synchronous one with
requests, urllib3 and oauthlib among them: 16 MB and 0.4 s in each agent. Empty modules in their places
keep that out; whoever imports `kubernetes.client` afterwards still finds it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson

from fleetbus.runtime.clock import Clock
from fleetbus.runtime.foreign_text import cleaned
from fleetbus.runtime.kube_access import BearerToken, KubeAccess
from fleetbus.runtime.kube_errors import error_of
from fleetbus.schemas.errors import KubeUnavailable


def _import_lean() -> None:
    if "kubernetes" in sys.modules:
        return
    spec = PathFinder.find_spec("kubernetes")
    for location in spec.submodule_search_locations or () if spec else ():
        for name in ("kubernetes", "kubernetes.aio", "kubernetes.aio.utils"):
            module = ModuleType(name)
            module.__path__ = [str(Path(location).joinpath(*name.split(".")[1:]))]
            sys.modules[name] = module


_import_lean()

from kubernetes.aio.client.configuration import Configuration  # noqa: E402
from kubernetes.aio.client.rest import RESTClientObject  # noqa: E402

REQUEST_TIMEOUT_S = 30.0
# A bookmark comes about every minute, so a watch that is silent for longer has lost its connection.
WATCH_SILENCE_S = 130.0

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
# With a charset the transport passes bytes through; without one it would encode them again as a string.
APPLY_PATCH = "application/apply-patch+yaml; charset=utf-8"

_REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
_WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=WATCH_SILENCE_S)
_UNREACHABLE = (TimeoutError, aiohttp.ClientError, OSError)
_GONE_CONNECTION = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionResetError)


@dataclass(frozen=True, slots=True)
class Request:
    """One call: `body` is bytes for APPLY_PATCH and a dict otherwise; `where` names the object in errors."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    body: dict[str, Any] | bytes | None = None
    content_type: str = JSON
    accept: str = JSON
    where: str = ""
    secret: bool = False


class KubeTransport:
    """Requests, at most `in_flight` at once and each within REQUEST_TIMEOUT_S, and watches beside them."""

    def __init__(self, access: KubeAccess, clock: Clock, *, in_flight: int = 16) -> None:
        self._server = access.server
        self._clock = clock
        self._token = BearerToken(access)
        self._slots = asyncio.Semaphore(in_flight)
        self._rest = _rest_client(access)

    async def close(self) -> None:
        await self._rest.close()

    async def call(self, request: Request) -> dict[str, Any]:
        """The JSON object of the answer. Raises the errors of the port."""
        async with self._slots:
            try:
                response = await self._accepted(request, _REQUEST_TIMEOUT)
                raw = await response.read()
            except _UNREACHABLE as error:
                raise _unavailable(error, request.where) from error
        if response.status >= 400:
            raise error_of(response.status, raw, where=request.where, secret=request.secret)
        try:
            parsed = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise KubeUnavailable("the API server's answer is not JSON", where=request.where) from error
        if not isinstance(parsed, dict):
            raise KubeUnavailable("the API server's answer is not an object", where=request.where)
        return parsed

    @asynccontextmanager
    async def chunks(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of a watch as it comes; beside the requests, and for as long as it is not silent."""
        try:
            response = await self._accepted(request, _WATCH_TIMEOUT)
            refusal = await response.read() if response.status >= 400 else b""
        except _UNREACHABLE as error:
            raise _unavailable(error, request.where) from error
        if response.status >= 400:
            raise error_of(response.status, refusal, where=request.where, secret=request.secret)
        try:
            yield _chunks(response, request.where)
        finally:
            response.close()

    async def _accepted(self, request: Request, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        response = await self._send(request, timeout)
        if response.status != 401:
            return response
        # The token may have been renewed in its file since it was read.
        response.release()
        self._token.look_again()
        return await self._send(request, timeout)

    async def _send(self, request: Request, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        path = f"{request.path}?{urlencode(request.query)}" if request.query else request.path
        try:
            return await self._once(request, path, timeout)
        except aiohttp.ClientConnectorError:
            raise
        except _GONE_CONNECTION:
            # A connection that was kept alive had gone; aiohttp itself tries again for some methods only.
            if request.method == "POST":
                raise
            return await self._once(request, path, timeout)

    async def _once(
        self, request: Request, path: str, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = {
            "Accept": request.accept,
            # Compressing costs the API server more than the bytes cost on a cluster's own network.
            "Accept-Encoding": "identity",
            "Content-Type": request.content_type,
            "User-Agent": "fleetbus",
        }
        if token := self._token.current(self._clock.monotonic_s()):
            headers["Authorization"] = f"Bearer {token}"
        answer = await self._rest.request(
            request.method, self._server + path, headers, request.body, _request_timeout=timeout
        )
        response: aiohttp.ClientResponse = answer.response
        return response


async def _chunks(response: aiohttp.ClientResponse, where: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    except _UNREACHABLE as error:
        raise _unavailable(error, where) from error


def _unavailable(error: Exception, where: str) -> KubeUnavailable:
    if isinstance(error, TimeoutError):
        return KubeUnavailable("the API server did not answer in time", where=where)
    said = cleaned(f"the API server cannot be reached: {error or type(error).__name__}")
    return KubeUnavailable(said, where=where)


def _rest_client(access: KubeAccess) -> RESTClientObject:
    configuration = Configuration(
        host=access.server,
        ca_cert_data=access.authority or None,
        # No limit here: watches would use it up and the requests behind them would hang.
        connection_pool_maxsize=0,
        client_session_kwargs={
            # Else each request makes a thread hop to look for a netrc, which triples the CPU.
            "trust_env": False,
            "read_bufsize": 2**16,
            "cookie_jar": aiohttp.DummyCookieJar(),
        },
    )
    if not access.certificate:
        return RESTClientObject(configuration)
    with tempfile.TemporaryDirectory(prefix="fleetbus-") as folder:
        # The ssl module loads a client certificate from files only; the folder is ours alone (mode 0700).
        configuration.cert_file, configuration.key_file = f"{folder}/tls.crt", f"{folder}/tls.key"
        Path(configuration.cert_file).write_text(access.certificate)
        Path(configuration.key_file).write_text(access.key)
        return RESTClientObject(configuration)
