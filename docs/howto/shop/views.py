import json

from aiohttp import web
from aiohttp_sse import sse_response
from django.contrib.auth.models import User
from django.shortcuts import aget_object_or_404, get_object_or_404, render

from aiodjango import aget_user, aio_login_required, django_request, run_in_django
from aiodjango.broadcast import apublish, subscribe

from .models import Job


def index(request):
    return render(request, "shop/index.html")


@aio_login_required
async def bell(request):
    ws = web.WebSocketResponse(heartbeat=30)
    await ws.prepare(request)
    user = await aget_user(request)
    async with subscribe(f"user-{user.pk}", "everybody") as events:
        await events.send_to(ws)
    return ws


async def room(request, slug):
    ws = web.WebSocketResponse(heartbeat=30)
    await ws.prepare(request)

    async def receive(content):
        await apublish(f"room-{slug}", {"text": str(content["text"])[:500]})

    async with subscribe(f"room-{slug}") as events:
        await events.send_to(ws, receive)
    return ws


async def stream(request):
    async with sse_response(request) as response, subscribe("news") as events:
        await events.send_to(response)
    return response


def job(request, pk):
    return render(request, "shop/job.html", {"job": get_object_or_404(Job, pk=pk)})


async def progress(request, pk):
    job = await aget_object_or_404(Job, pk=pk)
    async with sse_response(request) as response, subscribe(f"job-{pk}") as events:
        await job.arefresh_from_db()  # what happened before the subscription
        await response.send(json.dumps({"done": job.done, "total": job.total}))
        await events.send_to(response)
    return response


async def account(request):
    await aget_user(request)  # the template shows the user
    return render(django_request(request), "shop/account.html")


async def people(request):
    context = {"people": User.objects.order_by("username")}  # a query, made by the template
    return await run_in_django(render, django_request(request), "shop/people.html", context)
