from django.urls import path

from . import views

urlpatterns = [
    path("steps/", views.steps),
    path("stream/", views.stream),
    path("socket/", views.socket),
    path("background/<str:name>/", views.background),
    path("results/<str:name>/", views.results),
    path("sync/", views.sync),
]
