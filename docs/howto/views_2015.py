from aiohttp import web


async def hello(request):
    return web.Response(text="Hello World")


async def room(request):
    return web.Response(text=request.match_info["name"])
