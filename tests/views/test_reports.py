"""What error reports of coroutine views show: neither in a mail nor on the debug page a secret."""

import logging
import subprocess
import sys
import textwrap

import django
import pytest
from aiohttp import web
from asgiref.sync import sync_to_async
from django.core import mail
from django.urls import path
from django.utils.functional import SimpleLazyObject
from django.utils.log import AdminEmailHandler
from django.views.debug import (
    SafeExceptionReporterFilter,
    get_default_exception_reporter_filter,
)
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from aiodjango import django_request, run_in_django
from aiodjango.checks import check_urlconf
from tests.support.lifted import lifted

# Django 6.1 would have the mailer configured in another way, which 5.2 doesn't know.
pytestmark = pytest.mark.filterwarnings("ignore:.*default mailer")

# The pages show lines of this file, so no secret stands in it.
SECRETS = [f"secret{number}" for number in range(5)]
FORM = {
    "username": "ann-smith",
    "password": SECRETS[0],
    "api_token": SECRETS[1],
    "card": "4111-1111",
}
HEADERS = {
    "Authorization": f"Bearer {SECRETS[2]}",
    "Cookie": f"sessionid={SECRETS[3]}",
    "X-Api-Key": SECRETS[4],
    "Accept": "text/html",
    "X-Plain": "plain",
}


async def plain(request):
    form = await request.post()
    headers = request.headers
    raise ZeroDivisionError(len(form) + len(headers))


def fails(*args, **kwargs):
    raise ZeroDivisionError(len(args) + len(kwargs))


async def in_arguments(request):
    await run_in_django(fails, await request.post(), headers=request.headers)


async def in_arguments_of_asgirefs(request):
    await sync_to_async(fails)(await request.post(), headers=request.headers)


async def in_containers(request):
    form, cookies = await request.post(), request.cookies
    found = {"form": form, "all": [(form, request.headers), {"cookies": cookies}]}
    found["itself"] = found
    raise ZeroDivisionError(len(found))


async def while_lazy(request):
    """An error out of an object whose attributes, even its class, cannot be asked for."""
    form, headers = await request.post(), request.headers
    str(SimpleLazyObject(lambda: fails(form, headers)))


@sensitive_post_parameters("card")
async def marked(request):
    form = await request.post()
    raise ZeroDivisionError(len(form))


@csrf_exempt
@sensitive_post_parameters()
async def all_marked(request):
    form = await request.post()
    raise ZeroDivisionError(len(form))


@sensitive_post_parameters("card")
async def marked_without_response(request):
    await request.post()


class Marked(web.View):
    @sensitive_post_parameters("card")
    async def post(self):
        form = await self.request.post()
        raise ZeroDivisionError(len(form))


@sensitive_variables("number")
async def variables(request):
    number, other = "-".join(["4111", "1111"]), "shown"
    raise ZeroDivisionError(len(number + other))


class Variables(web.View):
    @sensitive_variables("number")
    async def post(self):
        number, other = "-".join(["4111", "1111"]), "shown"
        raise ZeroDivisionError(len(number + other))


@sensitive_post_parameters("card")
async def late(request):
    form = await request.post()
    response = web.StreamResponse()
    await response.prepare(request)
    raise ZeroDivisionError(len(form))


VIEWS = {
    "plain": plain,
    "arguments": in_arguments,
    "asgiref": in_arguments_of_asgirefs,
    "containers": in_containers,
    "lazy": while_lazy,
    "marked": marked,
    "all-marked": all_marked,
    "without-response": marked_without_response,
    "class": Marked,
    "variables": variables,
    "variables-class": Variables,
    "late": late,
}
urlpatterns = [path(f"{name}/", view) for name, view in VIEWS.items()]


@pytest.fixture
def mailed(settings):
    """Has the mails to ADMINS hold the debug page, with the variables of all frames."""
    settings.ADMINS = [
        "admin@example.com" if django.VERSION >= (6,) else ("A", "admin@example.com")
    ]
    handler = AdminEmailHandler(include_html=True)
    handler.setLevel(logging.ERROR)
    logger = logging.getLogger("django.request")
    logger.addHandler(handler)
    yield lambda: [
        text
        for message in mail.outbox
        for text in [message.body, *(part[0] for part in message.alternatives)]
    ]
    logger.removeHandler(handler)


@pytest.fixture
async def post(aiohttp_client):
    client = await aiohttp_client(lifted(*urlpatterns))

    async def post(name, **options):
        async with client.post(f"/{name}/", **options) as response:
            return response.status, await response.text()

    return post


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("view", ["plain", "arguments", "asgiref", "containers", "lazy"])
async def test_secrets_are_hidden_by_their_names(post, mailed, settings, debug, view):
    settings.DEBUG = debug
    status, page = await post(view, data=FORM, headers=HEADERS)
    assert status == 500
    (*texts,) = [page] if debug else mailed()
    assert "ann-smith" in "".join(texts)
    assert "plain" in "".join(texts)
    assert "4111-1111" in "".join(texts)  # no name says that this is one
    for text in [page, *texts]:
        assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.parametrize("name", ["marked", "class", "without-response", "all-marked"])
async def test_djangos_decorator_marks_the_fields_of_a_form(post, mailed, name):
    status, _ = await post(name, data=FORM)
    assert status == 500
    text = "".join(mailed())
    assert "card" in text
    assert "4111-1111" not in text
    assert ("ann-smith" in text) is (name != "all-marked")


@pytest.mark.parametrize("name", ["variables", "variables-class"])
async def test_djangos_decorator_marks_variables(post, mailed, name):
    status, _ = await post(name)
    assert status == 500
    text = "".join(mailed()[1::2])  # the pages: the texts show no variables
    assert "shown" in text
    assert "4111-1111" not in text


async def test_after_the_response_has_begun(post, mailed):
    with pytest.raises(Exception, match=r"not enough data|Transfer|payload|Connection|disconnect"):
        await post("late", data=FORM)
    text = "".join(mailed())
    assert "ZeroDivisionError" in text
    assert "4111-1111" not in text
    assert [secret for secret in SECRETS if secret in text] == []


class OwnFilter(SafeExceptionReporterFilter):
    cleansed_substitute = "HIDDEN"

    def cleanse_setting(self, key, value):
        return self.cleansed_substitute if key == "card" else super().cleanse_setting(key, value)


async def test_the_projects_own_filter_counts(post, mailed, settings):
    settings.DEFAULT_EXCEPTION_REPORTER_FILTER = "tests.views.test_reports.OwnFilter"
    get_default_exception_reporter_filter.cache_clear()
    try:
        await post("plain", data=FORM)
    finally:
        get_default_exception_reporter_filter.cache_clear()
    text = "".join(mailed())
    assert "HIDDEN" in text
    assert "4111-1111" not in text


async def test_a_filter_that_the_view_has_chosen_counts(aiohttp_client, mailed):
    class Chosen(SafeExceptionReporterFilter):
        def get_post_parameters(self, request):
            return {"chosen": "by the view"}

    async def view(request):
        django_request(request).exception_reporter_filter = Chosen()
        await request.post()
        raise ZeroDivisionError

    client = await aiohttp_client(lifted(path("x/", view)))
    await client.post("/x/", data=FORM)
    assert "by the view" in "".join(mailed())


def test_the_check_accepts_the_decorators(settings):
    settings.ROOT_URLCONF = "tests.views.test_reports"
    assert [message for message in check_urlconf() if message.id == "aiodjango.E003"] == []


def test_aiohttps_development_mode_has_nothing_to_say():
    code = """
        import asyncio, warnings
        import django
        from django.conf import settings
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="x")
        django.setup()
        from aiohttp import web
        from aiohttp.test_utils import make_mocked_request
        from django.views.decorators.debug import sensitive_post_parameters
        import aiodjango

        @sensitive_post_parameters("a")
        async def view(request):
            return request.sensitive_post_parameters

        async def main():
            assert await view(make_mocked_request("GET", "/")) == ("a",)

        warnings.simplefilter("error")
        asyncio.run(main())
    """
    subprocess.run([sys.executable, "-X", "dev", "-c", textwrap.dedent(code)], check=True)
