"""The gateway alone, as its docstring shows it."""

import inspect

from aiohttp import web

from aiodjango import gateway as face


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [
        f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} ".encode(),
        environ["wsgi.input"].read(),
    ]


async def test_the_example(aiohttp_client):
    app = web.Application()
    example = inspect.cleandoc(face.__doc__).split("\n\n")[1]
    names = {"Gateway": face.Gateway, "application": application, "app": app}
    exec(inspect.cleandoc(example), names)
    client = await aiohttp_client(app)
    response = await client.post("/a/path", data=b"a body", expect100=True)
    assert (response.status, await response.text()) == (200, "POST /a/path a body")
    assert names["gateway"].busy <= 8
    await client.close()
    assert names["gateway"].busy == 0
