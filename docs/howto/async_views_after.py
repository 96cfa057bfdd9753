# For aiohttp
from aiohttp import web
from django.contrib.auth.models import User
from django.shortcuts import aget_object_or_404, redirect

from aiodjango import aget_session


async def search(request):
    word = request.query.get("word", "")
    found = User.objects.filter(username__icontains=word).order_by("pk")
    return web.json_response({"names": [user.username async for user in found]})


async def rename(request, pk):
    user = await aget_object_or_404(User, pk=pk)
    user.username = (await request.json())["name"]
    await user.asave()
    session = await aget_session(request)
    session["renamed"] = pk
    return redirect("search")
