from django.urls import path

from . import views

urlpatterns = [
    path("", views.index),
    path("bell/", views.bell, name="bell"),
    path("rooms/<slug:slug>/", views.room),
    path("news/", views.stream),
    path("jobs/<int:pk>/", views.job, name="job"),
    path("jobs/<int:pk>/progress/", views.progress, name="progress"),
    path("account/", views.account),
    path("people/", views.people),
]
