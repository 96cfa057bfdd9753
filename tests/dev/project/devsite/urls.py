from django.urls import path, re_path

from . import views

urlpatterns = [
    path("sync/", views.sync_view),
    path("page/", views.page),
    path("greeting/", views.greeting),
    path("status/<int:status>/", views.status),
    path("moved/", views.moved),
    path("streamed/", views.streamed),
    path("file/", views.file),
    path("busy/", views.busy),
    path("alone/", views.alone),
    path("static-url/", views.static_url),
    path("lifted/", views.lifted),
    path("chunks/", views.chunks),
    path("ws/", views.websocket),
    path("ws/failing/", views.failing_websocket),
    path("ticks/", views.ticks),
    path("busy-executor/", views.busy_executor),
    path("blocking/", views.blocking),
    re_path(r"^(?P<rest>static/.*)$", views.catch_all),
]
