"""Thousands of hostile connections to one server: nothing they send hurts it, or deceives it."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.conftest import THOROUGH
from tests.gateway.ground import ground
from tests.gateway.strategies import connections

CASES = 5000 if THOROUGH else 300


@pytest.fixture
async def attacked(serve, monkeypatch):
    monkeypatch.setattr("aiodjango.gateway.body.WATCH_INTERVAL", 0.005)
    async with ground(serve) as attacked:
        yield attacked
        attacked.raise_if_anything_was_lost()
        # Cases that stop at the parser would prove little of what is behind it.
        assert attacked.reached > attacked.cases / 5


@settings(
    max_examples=CASES,
    # The server is shared by all cases, as it is meant to be.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(hostile=connections)
async def test_whatever_is_sent(attacked, hostile):
    await attacked.attack(hostile)
