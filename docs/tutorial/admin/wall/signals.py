from asgiref.sync import async_to_sync
from django.db import transaction

from .live import as_dict, publish


def show_at_once(instance, created, **kwargs):
    if created:
        transaction.on_commit(lambda: async_to_sync(publish)(as_dict(instance)))
