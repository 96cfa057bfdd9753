"""Calls from many threads on one event loop: each is made, with few wake-ups of the loop."""

import asyncio
import threading

from aiodjango.runtime.loopcalls import LoopCalls
from tests.support.waiting import DEADLINE

THREADS = 8
CALLS = 500


async def test_no_wake_up_is_lost():
    """Each thread waits for its call before it asks for the next one."""
    loop = asyncio.get_running_loop()
    calls = LoopCalls()
    late = []

    def ask():
        for _ in range(CALLS):
            made = threading.Event()
            calls.add(made.set)
            calls.wake(loop)
            if not made.wait(DEADLINE):
                late.append(threading.current_thread())
                break

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert late == []


async def test_calls_are_made_in_their_order_by_one_wake_up(monkeypatch):
    loop = asyncio.get_running_loop()
    calls = LoopCalls()
    made = []
    wake_ups = []
    monkeypatch.setattr(
        loop, "call_soon_threadsafe", lambda call, *, context: wake_ups.append(call)
    )
    for number in range(3):
        calls.add(made.append, number)
        assert calls.wake(loop)
    assert len(wake_ups) == 1
    wake_ups[0]()
    assert made == [0, 1, 2]
    calls.make()  # by itself, in between
    calls.wake(loop)
    assert len(wake_ups) == 2


def test_a_closed_loop_is_told_nothing():
    loop = asyncio.new_event_loop()
    loop.close()
    calls = LoopCalls()
    for _ in range(2):
        calls.add(loop.stop)
        assert not calls.wake(loop)
