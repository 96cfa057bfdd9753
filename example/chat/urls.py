from django.urls import path

from . import how, live, views

app_name = "chat"

# Coroutine views and plain ones side by side: the coroutine views are answered on the event loop,
# everything else by Django in a thread.
urlpatterns = [
    path("", views.rooms, name="rooms"),
    path("new/", views.new_room, name="new_room"),
    path("how/<str:name>", how.source, name="source"),
    path("feed/", live.feed, name="feed"),
    path("rooms/<slug:slug>/", views.room, name="room"),
    path("rooms/<slug:slug>/history/", live.history, name="history"),
    path("rooms/<slug:slug>/socket/", live.socket, name="socket"),
]
