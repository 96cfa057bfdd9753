"""Work may be ended by the garbage collector, in the middle of anything."""

from aiodjango.orm.pool import OrmPool
from aiodjango.orm.thread import OrmThread
from aiodjango.orm.work import Work


class Reader(Work):
    """Work that is looked at while a collection ends other work."""

    def __init__(self, others):
        super().__init__(None, "test")
        self._others = others

    @property
    def cursors(self):
        for other in self._others:
            other.end()
        return ()


def test_work_may_end_while_the_cursors_of_all_are_looked_at():
    thread = OrmThread(OrmPool(lambda: 1, lambda: 1.0), "never started", 1.0)
    works = [Work(None, "test") for _ in range(10)]
    for work in [Reader(works), *works, Reader(works)]:
        thread.admit(work)
    assert not thread._is_read(None)
    assert not any(work in thread.works for work in works)
