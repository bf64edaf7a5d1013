"""An http client that asks no address of this machine or of its network, unless it may."""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

# Prefix under which translators of IPv6 networks reach an IPv4 address.
_NAT64 = ip_network("64:ff9b::/96")


class AddressError(ValueError):
    """A host that must not be asked, or a redirect to a kind of URL that is not allowed."""


@dataclass(frozen=True)
class GuardedClient:
    """Makes sessions of aiohttp for fsspec, which look at every request before it is sent.

    Addresses are looked at where they are resolved, and these very addresses are connected to: a
    name that means another address a moment later gains nothing. Redirects are requests like any
    other. Neither proxies nor passwords of the environment are used.

    Attributes:
        url_schemes: Kinds of URL that may be asked, also after a redirect.
        private_hosts: Hosts, as URLs name them, that may have private addresses; "*" is all.
        timeout_seconds: After which a request is given up, however much came.
    """

    url_schemes: tuple[str, ...]
    private_hosts: tuple[str, ...]
    timeout_seconds: float

    async def __call__(self, **options: Any) -> aiohttp.ClientSession:
        """A session, made in the event loop that uses it.

        Args:
            options: What fsspec passes on to the session.
        """
        return aiohttp.ClientSession(
            **options,
            connector=aiohttp.TCPConnector(resolver=_GuardedResolver(self)),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self.timeout_seconds),
            middlewares=(self._check_request,),
        )

    def check_address(self, host: str, address: str) -> None:
        """Refuse an address that is not one of the public internet.

        Args:
            host: What the URL says.
            address: What it means.

        Raises:
            AddressError: Naming both, and the setting that allows it.
        """
        if not {host, "*"}.intersection(self.private_hosts) and not _is_public(address):
            raise AddressError(
                f"{host} is at {address}, which is no public address; if it may be asked, add"
                f" {host!r} to image_limits.private_hosts"
            )

    async def _check_request(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        scheme, host = request.url.scheme, request.url.host or ""
        if scheme not in self.url_schemes:
            raise AddressError(
                f"redirected to {scheme}, which is not among url_schemes = {list(self.url_schemes)}"
            )
        try:
            ip_address(host)
        except ValueError:  # a name, which the resolver looks at
            pass
        else:
            self.check_address(host, host)
        return await handler(request)


class _GuardedResolver(AbstractResolver):
    def __init__(self, client: GuardedClient) -> None:
        self._client = client
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for result in found:
            self._client.check_address(host, result["host"])
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _is_public(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if address.is_site_local:  # private networks of old, which is_global knows nothing of
            return False
        address = _embedded(address) or address
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that one of IPv6 stands for."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo[1] if address.teredo is not None else None
    return address.ipv4_mapped or address.sixtofour or teredo
