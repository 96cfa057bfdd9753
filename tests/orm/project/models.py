import threading

from django.conf import settings
from django.db import models
from django.db.backends.signals import connection_created
from django.dispatch import receiver


@receiver(connection_created)
def set_up_session(connection, **kwargs):
    if value := getattr(settings, "TEST_SESSION_SETTING", None):
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('app.site', %s, false)", [value])


class Book(models.Model):
    title = models.CharField(max_length=100)

    class Meta:
        app_label = "project"

    @classmethod
    def from_db(cls, db, field_names, values):
        book = super().from_db(db, field_names, values)
        book.read_in = threading.current_thread().name
        return book
