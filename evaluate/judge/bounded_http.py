"""How a judge's endpoint is reached: each try within its time, each body within its bound, and no way to another host.

What comes back to the openai client is whole and small, so nothing that it does with a response can hang or grow.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import httpx2
import openai

MAX_BODY_BYTES = 8 * 2**20
"""Of an answer, packed and unpacked; one of 4,096 tokens with log-probabilities has some 3 MB."""
MAX_REDIRECTS = 5
REDIRECTED = "redirected"
"""Extension of a response: the address on another host that was not followed."""
NOT_READ = "not_read"
"""Extension of a response: why its body was not read."""
_KEPT_HEADERS = ("retry-after", "retry-after-ms", "x-should-retry")


class BoundedClient(openai.DefaultAsyncHttpxClient):
    """Args: seconds: from the request's first byte to the answer's last one, however they come."""

    def __init__(self, seconds: float) -> None:
        super().__init__(timeout=seconds, headers={"Accept-Encoding": "gzip"})
        self._seconds = seconds

    async def send(self, request: httpx2.Request, **settings: Any) -> httpx2.Response:  # type: ignore[override]
        """Raises: httpx2.RequestError, as httpx2's own client does."""
        settings |= {"stream": True, "follow_redirects": False}
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(request, settings)
        except TimeoutError as error:
            raise httpx2.ReadTimeout(f"no whole answer within {self._seconds:g} s", request=request) from error
        except httpx2.InvalidURL as error:
            raise httpx2.RemoteProtocolError(f"redirected to no address: {error}", request=request) from error

    async def _follow(self, request: httpx2.Request, settings: dict[str, Any]) -> httpx2.Response:
        for _ in range(MAX_REDIRECTS + 1):
            response = await super().send(request, **settings)
            try:
                if (following := response.next_request) is None:
                    return await _read(response)
                if not _is_same_host(request.url, following.url):
                    return _small(response, b"", {REDIRECTED: str(following.url.copy_with(query=None, fragment=None))})
            finally:
                await response.aclose()
            request = following
        raise httpx2.TooManyRedirects(f"more than {MAX_REDIRECTS} redirects", request=request)


def _is_same_host(here: httpx2.URL, there: httpx2.URL) -> bool:
    """The same server, or the same host by https where it was http, both on their usual ports."""
    if here.host != there.host:
        return False
    is_upgrade = (here.scheme, here.port, there.scheme, there.port) == ("http", None, "https", None)
    return is_upgrade or (here.scheme, here.port) == (there.scheme, there.port)


async def _read(response: httpx2.Response) -> httpx2.Response:
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            return _small(response, b"", {NOT_READ: _too_large()})
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return _small(response, bytes(content), {})
    if encoding != "gzip":
        return _small(
            response, b"", {NOT_READ: f"the endpoint's answer is encoded as {encoding[:20]!r}, not asked for"}
        )
    try:
        unpacked = zlib.decompressobj(wbits=31).decompress(bytes(content), MAX_BODY_BYTES + 1)
    except zlib.error:
        return _small(response, b"", {NOT_READ: "the endpoint's answer is not gzip, as its header states"})
    if len(unpacked) > MAX_BODY_BYTES:
        return _small(response, b"", {NOT_READ: _too_large()})
    return _small(response, unpacked, {})


def _too_large() -> str:
    return f"the endpoint's answer is larger than {MAX_BODY_BYTES // 2**20} MiB"


def _small(response: httpx2.Response, content: bytes, extensions: dict[str, Any]) -> httpx2.Response:
    """The response without what its other headers (charset, encoding, length) would do to its content."""
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return httpx2.Response(
        response.status_code, headers=headers, content=content, request=response.request, extensions=extensions
    )
