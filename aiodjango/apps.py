"""The app for INSTALLED_APPS: the commands runserver and aioroutes, and system checks."""

from django.apps import AppConfig


class AiodjangoConfig(AppConfig):
    name = "aiodjango"

    def ready(self) -> None:
        # Only now: reading the project's views has to wait until all apps are loaded.
        from .checks import register_checks
        from .views.watch import connect_signals

        register_checks()
        connect_signals()
