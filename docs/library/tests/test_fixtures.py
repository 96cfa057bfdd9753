from urllib.request import urlopen

from library.models import Book


async def test_books(aio_client, db):
    await Book.objects.acreate(title="Emma")
    response = await aio_client.get("/books/")
    assert response.json() == {"books": ["Emma"]}


async def test_account(aio_client, db, django_user_model):
    response = await aio_client.get("/account/")
    assert response.url == "/accounts/login/?next=/account/"
    user = await django_user_model.objects.acreate(username="ann")
    await aio_client.aforce_login(user)
    response = await aio_client.get("/account/")
    assert response.text == "Hello ann"


def test_live_server(aio_live_server):
    Book.objects.create(title="Emma")
    with urlopen(aio_live_server + "/books/") as response:
        assert response.read() == b'{"books": ["Emma"]}'
