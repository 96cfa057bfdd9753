from django.urls import path

from . import views

urlpatterns = [
    path("sync/<int:number>/", views.sync),
    path("coroutine/<int:number>/", views.coroutine),
    path("upload/", views.upload),
    path("echo/", views.echo),
    path("slow/sync/", views.slow_sync),
    path("slow/coroutine/", views.slow_coroutine),
]
