from django.urls import path

from . import views

urlpatterns = [
    path("sync/<int:number>/", views.sync),
    path("coroutine/<int:number>/", views.coroutine),
    path("upload/", views.upload),
    path("echo/", views.echo),
    path("slow/sync/", views.slow_sync),
    path("slow/coroutine/", views.slow_coroutine),
    path("counted/sync/", views.counted_sync),
    path("counted/coroutine/", views.counted_coroutine),
    path("figures/", views.figures),
    path("sleep/<str:seconds>/", views.sleep),
    path("stream/", views.stream),
    path("wait/<int:number>/", views.wait),
]
