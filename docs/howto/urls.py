from django.contrib.auth.views import LoginView
from django.urls import include, path

from . import async_views_after, async_views_before, sockets, streaming
from .channels import views as channels

urlpatterns = [
    path("accounts/login/", LoginView.as_view()),
    path("echo/", sockets.echo),
    path("events/", streaming.events),
    path("users.csv", streaming.export),
    path("papers/<slug:name>/", streaming.paper),
    path("receive/", streaming.receive),
    path("lines/", streaming.lines),
    path("chat/<slug:room>/", channels.chat),
    path("after/", async_views_after.search, name="search"),
    path("after/<int:pk>/", async_views_after.rename),
    path("before/", async_views_before.search),
    path("before/<int:pk>/", async_views_before.rename),
    path("2015/", include("docs.howto.urls_2015")),
]
