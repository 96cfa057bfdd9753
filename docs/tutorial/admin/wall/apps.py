from django.apps import AppConfig
from django.db.models.signals import post_save


class WallConfig(AppConfig):
    name = "wall"

    def ready(self):
        from .signals import show_at_once

        post_save.connect(show_at_once, sender="wall.Note")
