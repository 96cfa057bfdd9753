"""manage.py aioroutes."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command


def run(**options):
    out = StringIO()
    call_command("aioroutes", stdout=out, **options)
    return out.getvalue()


def test_table(settings):
    settings.ROOT_URLCONF = "tests.urls"
    assert run() == (
        "Path         View             Name       Shadows\n"
        "/aio/        tests.urls.aio   aio\n"
        "/shop/{pk}/  tests.urls.item  shop:item\n"
    )


def test_json(settings):
    settings.ROOT_URLCONF = "tests.checks.check_urls"
    routes = json.loads(run(format="json"))
    assert routes[0] == {
        "path": "/a/new/",
        "view": "tests.checks.check_urls.aio_view",
        "name": "new",
        "shadows": ["'a/<slug:x>/' [name='slug'] (tests.checks.check_urls.sync_view)"],
    }
    assert [route["path"] for route in routes] == [
        *("/a/new/", "/{year}/", "/{x}/{key}/{y}/", "/e/{year}/{rest}", "/f/{number}/"),
        *("/g/{var}/show/", "/g/{var}/edit/"),
    ]


def test_a_project_without_coroutine_views(settings):
    settings.ROOT_URLCONF = "tests.checks.no_aio_urls"
    assert run() == "ROOT_URLCONF contains no coroutine view.\n"


def test_an_unknown_format_is_refused():
    with pytest.raises(CommandError, match="invalid choice: 'xml'"):
        call_command("aioroutes", "--format=xml")
