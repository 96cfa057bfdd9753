"""What a client does wrong is no error in the server's log."""

import logging

import pytest
from aiohttp import web

from aiodjango.gateway.malformed import ACCESS_LOGGERS, SERVER_LOGGERS, client_faults_filtered
from tests.gateway.hostile import Sent, Witness, exchange

MALFORMED = b"GET / HTTP/1.1\r\nHost : test\r\n\r\n"


@pytest.fixture
def records(caplog):
    caplog.set_level("INFO")
    return lambda: [record for record in caplog.records if record.name in SERVER_LOGGERS]


async def test_malformed_request_is_one_line(serve, records):
    server = await serve(Witness())
    with client_faults_filtered():
        await exchange(server.port, Sent([MALFORMED]))
    [record] = records()
    assert (record.levelname, record.exc_info) == ("INFO", None)
    message = record.getMessage()
    assert message.startswith("Malformed request from 127.0.0.1: ")
    assert "Host" in message
    assert "\n" not in message


async def test_line_is_short_and_plain(serve, records):
    server = await serve(Witness())
    with client_faults_filtered():
        await exchange(
            server.port, Sent([b"GET / HTTP/1.1\r\nX" + b"\xff\x1b" * 4000 + b"\r\n\r\n"])
        )
    [record] = records()
    message = record.getMessage()
    assert message.isascii()
    assert message.isprintable()
    assert len(message) < 300


async def test_no_line_where_the_level_forbids(serve, records, caplog):
    server = await serve(Witness())
    caplog.set_level("WARNING", logger="aiohttp.server")
    with client_faults_filtered():
        await exchange(server.port, Sent([MALFORMED]))
    assert records() == []


async def test_error_of_the_host_stays_one(serve, records):
    @web.middleware
    async def fails(request, handler):
        raise LookupError("the host's own")

    server = await serve(Witness(), middlewares=[fails])
    with client_faults_filtered():
        await server.get()
    [record] = records()
    assert record.levelname == "ERROR"
    assert record.exc_info[0] is LookupError


async def test_lasts_as_long_as_somebody_wants_it(serve, records):
    server = await serve(Witness())
    with client_faults_filtered():
        with client_faults_filtered():
            pass
        await exchange(server.port, Sent([MALFORMED]))
        assert [record.levelname for record in records()] == ["INFO"]
    await exchange(server.port, Sent([MALFORMED]))
    assert [record.levelname for record in records()] == ["INFO", "ERROR"]
    for name in (*SERVER_LOGGERS, *ACCESS_LOGGERS):
        assert logging.getLogger(name).filters == []


@pytest.mark.parametrize("name", ACCESS_LOGGERS)
def test_access_log_can_be_written(name, caplog):
    """aiohttp keeps bytes that are not UTF-8 as surrogates, which UTF-8 does not encode."""
    caplog.set_level("INFO")
    with client_faults_filtered():
        logging.getLogger(name).info('"GET / HTTP/1.1" 200 "é\udcff"')
    assert caplog.records[-1].getMessage() == '"GET / HTTP/1.1" 200 "é\\udcff"'


async def test_error_names_the_request_in_one_line(serve, gateway_log):
    """The path is the client's to choose, line feeds included."""

    def fails(environ, start_response):
        raise LookupError("of the application")

    server = await serve(fails)
    await server.get("/a%0aWARNING%20something%20else")
    assert gateway_log() == [r"Error in the WSGI application: GET /a\nWARNING something else"]
