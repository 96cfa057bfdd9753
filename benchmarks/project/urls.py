from django.urls import path

from . import coroutines, views

urlpatterns = [
    path("", views.hello),
    path("page/", views.page),
    path("json/", views.echo_json),
    path("upload/", views.upload),
    path("file/<str:name>", views.file),
    path("stream/<int:size>/", views.stream),
    path("row/<str:database>/", views.row),
    path("report/<str:database>/", views.report),
    path("cached/", views.cached),
    path("block/", views.block),
    path("compute/", views.compute),
    path("endless/", views.endless),
    path("native/", views.native),
    path("coroutine/", coroutines.hello),
    path("echo/", coroutines.echo),
]
