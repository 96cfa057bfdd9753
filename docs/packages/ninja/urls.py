from django.urls import path
from ninja import NinjaAPI

api = NinjaAPI()


@api.get("/add")
async def add(request, a: int, b: int):
    return {"sum": a + b}


urlpatterns = [path("api/", api.urls)]
