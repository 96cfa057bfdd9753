from adrf.viewsets import ViewSet as AsyncViewSet
from django.urls import include, path
from rest_framework.decorators import api_view
from rest_framework.response import Response
from rest_framework.routers import DefaultRouter


class Rooms(AsyncViewSet):
    async def list(self, request):
        return Response(["kitchen"])


@api_view(["POST"])
def echo(request):
    return Response(request.data)


router = DefaultRouter()
router.register("rooms", Rooms, basename="room")
urlpatterns = [path("api/", include(router.urls)), path("api/echo/", echo)]
