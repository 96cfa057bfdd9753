"""Django's ORM, connections and caches in coroutines and in the threads that work for them."""

from .caches import close_thread_caches, forget_caches
from .context import (
    begin_work,
    close_orm_threads,
    django_context,
    orm_calls_through,
    run_in_django,
)
from .process import prepare_process

__all__ = [
    "begin_work",
    "close_orm_threads",
    "close_thread_caches",
    "django_context",
    "forget_caches",
    "orm_calls_through",
    "prepare_process",
    "run_in_django",
]
