from django.urls import path, re_path

from .views_2015 import hello, room

urlpatterns = [
    path("hello/", hello, name="async-hello"),
    re_path(r"^rooms/(?P<name>\w+)/$", room),
]
