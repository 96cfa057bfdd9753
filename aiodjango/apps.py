"""The app for INSTALLED_APPS: the commands runserver and aioroutes, and system checks."""

from django.apps import AppConfig
from django.core import checks


class AiodjangoConfig(AppConfig):
    name = "aiodjango"

    def ready(self) -> None:
        # Only now: reading the project's views has to wait until all apps are loaded.
        from .checks import check_settings, check_urlconf
        from .watch import connect_signals

        checks.register(check_settings)
        checks.register(check_urlconf, checks.Tags.urls)
        connect_signals()
