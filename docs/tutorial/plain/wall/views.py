from django.shortcuts import render

from .models import Note


def index(request):
    return render(request, "wall/index.html", {"notes": Note.objects.order_by("-pk")[:20]})
