from django.urls import path

from . import live, views

urlpatterns = [
    path("", views.index),
    path("notes/", live.notes),
    path("live/", live.live, name="live"),
]
