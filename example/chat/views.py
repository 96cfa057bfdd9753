"""The plain Django half: pages and forms, answered in a thread."""

from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.views import LoginView, RedirectURLMixin
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.generic import CreateView

from .demo import LOGIN, PASSWORD, login_works
from .forms import RoomForm
from .history import as_page, select_page
from .models import Message, Room


def rooms(request: HttpRequest) -> HttpResponse:
    """All rooms, the liveliest first."""
    return render(request, "chat/rooms.html", {"rooms": rooms_by_activity()})


def rooms_by_activity() -> QuerySet[Room]:
    last = Message.objects.filter(room=OuterRef("pk")).order_by("-id")
    return Room.objects.annotate(
        last_id=Subquery(last.values("id")[:1]),
        last_text=Subquery(last.values("text")[:1]),
        last_sent=Subquery(last.values("sent")[:1]),
        last_author=Subquery(last.values("author__username")[:1]),
    ).order_by(F("last_id").desc(nulls_last=True), "name")


@login_required
def new_room(request: HttpRequest) -> HttpResponse:
    form = RoomForm(request.POST or None)
    if form.is_valid():
        return redirect(form.save())
    return render(request, "chat/new_room.html", {"form": form})


def room(request: HttpRequest, slug: str) -> HttpResponse:
    """The chat page, with the latest messages in it; the rest is up to the WebSocket."""
    room = Room.objects.filter(slug=slug).first()
    if room is None:  # the site's own page, also where DEBUG would show Django's
        return render(request, "404.html", status=404)
    context = {
        "room": room,
        "page": as_page(list(select_page(room))),
        "max_length": Message.MAX_LENGTH,
    }
    return render(request, "chat/room.html", context)


class LogInView(LoginView):
    """Django's, which tells the demo's login while that works. Never without DEBUG."""

    redirect_authenticated_user = True

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        demo = (LOGIN, PASSWORD) if settings.DEBUG and login_works() else None
        return super().get_context_data(demo=demo, **kwargs)


class SignUpForm(UserCreationForm):  # type: ignore[type-arg]
    """Django's, which tells what is wrong with a password under the first of its two fields."""

    def validate_password_for_user(self, user: Any, password_field_name: str = "password1") -> None:
        super().validate_password_for_user(user, password_field_name)


class SignUpView(RedirectURLMixin, CreateView):
    """Make a user and go back to where the visitor came from, as LoginView does."""

    form_class = SignUpForm
    template_name = "registration/signup.html"
    next_page = "chat:rooms"

    def form_valid(self, form: UserCreationForm) -> HttpResponse:
        login(self.request, form.save())
        return redirect(self.get_success_url())
