"""The gateway's options are checked when it is made."""

import re

import pytest

from aiodjango.gateway import Gateway


def application(environ, start_response):
    start_response("200 OK", [])
    return []


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threads": 0}, ValueError, "threads must be at least 1, not 0"),
        ({"threads": "8"}, TypeError, "threads must be a whole number, not '8'"),
        ({"threads": True}, TypeError, "threads must be a whole number, not True"),
        ({"threads": 1.5}, TypeError, "threads must be a whole number, not 1.5"),
        ({"max_body_size": -1}, ValueError, "max_body_size must be at least 0, not -1"),
        ({"body_memory_limit": -1}, ValueError, "body_memory_limit must be at least 0, not -1"),
        ({"body_timeout": 0}, ValueError, "body_timeout must be more than 0 seconds, not 0"),
        ({"body_timeout": None}, TypeError, "body_timeout must be a number of seconds, not None"),
        ({"stream_buffer_limit": 0}, ValueError, "stream_buffer_limit must be at least 1, not 0"),
        ({"max_streams": None}, TypeError, "max_streams must be a whole number, not None"),
        ({"max_pending": 0}, ValueError, "max_pending must be at least 1, not 0"),
        ({"forwarded_allow_ips": 1}, TypeError, "forwarded_allow_ips must be str, not 1"),
        ({"forwarded_allow_ips": "a.b"}, ValueError, "forwarded_allow_ips: 'a.b' does not appear"),
        ({"thread": 1}, TypeError, "unexpected keyword argument 'thread'"),
    ],
)
def test_refused(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        Gateway(application, **options)


def test_an_application_that_cannot_be_called():
    with pytest.raises(TypeError, match="has to be a WSGI application, not 'x'"):
        Gateway("x")


def test_figures_before_the_first_request():
    gateway = Gateway(application)
    assert (gateway.busy, gateway.pending, gateway.shed, gateway.abandoned) == (0, 0, 0, 0)
