# For Django
import json

from django.contrib.auth.models import User
from django.http import HttpRequest, JsonResponse
from django.shortcuts import aget_object_or_404, redirect


async def search(request: HttpRequest):
    word = request.GET.get("word", "")
    found = User.objects.filter(username__icontains=word).order_by("pk")
    return JsonResponse({"names": [user.username async for user in found]})


async def rename(request: HttpRequest, pk):
    user = await aget_object_or_404(User, pk=pk)
    user.username = json.loads(request.body)["name"]
    await user.asave()
    await request.session.aset("renamed", pk)
    return redirect("search")
