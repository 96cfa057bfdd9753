"""A URLconf without coroutine views."""

from django.urls import path

from .check_urls import sync_view

urlpatterns = [path("", sync_view)]
