from django.urls import path

from . import views

urlpatterns = [
    path("", views.index),
    path("bell/", views.bell, name="bell"),
    path("rooms/<slug:slug>/", views.room),
    path("news/", views.stream),
]
