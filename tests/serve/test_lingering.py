"""Connections end for the client's sake later, and at once when nobody is there."""

import asyncio
import inspect
import socket
import struct

import pytest
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from isthmus.serve import Limits
from isthmus.serve.protocol import Lingering, protocol_within


async def connected():
    """Return a server's transport, and the client's socket."""
    server_end, client_end = socket.socketpair()
    server_end.setblocking(False)
    client_end.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=server_end)
    return transport, client_end


@pytest.mark.parametrize(("unread", "open_for_more"), [(True, True), (False, False)])
def test_it_stays_only_where_more_of_the_request_may_come(unread, open_for_more):
    async def close_one():
        transport, client = await connected()
        lingering = Lingering(transport, 30, lambda: unread)
        transport.write(b"answer")
        lingering.close()
        assert lingering.is_closing()
        loop = asyncio.get_running_loop()
        assert await loop.sock_recv(client, 10) == b"answer"
        assert await loop.sock_recv(client, 10) == b""
        assert transport.is_closing() is not open_for_more
        lingering.close()
        assert transport.is_closing()
        client.close()

    asyncio.run(close_one())


def test_a_client_that_has_gone_is_not_waited_for():
    async def lose_one():
        listening = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listening.getsockname())
        server_end, _ = listening.accept()
        server_end.setblocking(False)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=server_end)
        transport.pause_reading()
        # Closing at once, without a farewell, as a process that is killed does.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        lingering = Lingering(transport, 30, lambda: True)
        lingering.close()
        assert transport.is_closing()
        listening.close()

    asyncio.run(lose_one())


def test_uvicorn_has_what_connections_are_built_on():
    connections = protocol_within(Limits())
    config = uvicorn.Config(lambda *_: None, http=connections)
    config.load()
    assert config.http_protocol_class is connections
    given = set(inspect.signature(H11Protocol).parameters)
    assert {"config", "server_state", "app_state"} <= given
    assert issubclass(H11Protocol, asyncio.Protocol)
