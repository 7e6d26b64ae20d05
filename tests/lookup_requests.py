"""Requests to the lookup service without a socket, as a server passes them on."""

import asyncio

import httpx

from flows.service.app import make_app


def send(service, method="POST", path="/explain", **options):
    """One request through the application, as a server passes it on."""
    return asyncio.run(send_async(service, method, path, **options))


async def send_async(service, method, path, base="http://127.0.0.1:8400", **options):
    transport = httpx.ASGITransport(make_app(service), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        return await client.request(method, path, **options)
