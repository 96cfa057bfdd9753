import strawberry
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from strawberry.django.views import AsyncGraphQLView


@strawberry.type
class Query:
    @strawberry.field
    async def greeting(self) -> str:
        return "hello"


schema = strawberry.Schema(Query)
urlpatterns = [path("graphql/", csrf_exempt(AsyncGraphQLView.as_view(schema=schema)))]
