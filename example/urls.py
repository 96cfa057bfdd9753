from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

from example.chat.views import LogInView, SignUpView

urlpatterns = [
    path("", include("example.chat.urls")),
    path("login/", LogInView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("signup/", SignUpView.as_view(), name="signup"),
    path("admin/", admin.site.urls),
]

# Static files under any server while DEBUG is on. The prefix is given without the mount, which
# Django has taken off the path before it looks here.
urlpatterns += staticfiles_urlpatterns("static/")
