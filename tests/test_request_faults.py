"""Parts of a request that cannot be read: taken as missing, or answered as a client fault."""

import pytest
from aiohttp import web
from django.urls import path

from tests.files.test_requests import UNREADABLE_DATES
from tests.lifted import lifted

DATES = {
    "If-Modified-Since": "if_modified_since",
    "If-Unmodified-Since": "if_unmodified_since",
    "If-Range": "if_range",
}


@pytest.mark.parametrize("header", DATES)
async def test_an_unreadable_date_is_no_condition(aiohttp_client, tmp_path, header, caplog):
    (tmp_path / "a.txt").write_text("the file")

    async def reads(request):
        return web.json_response(getattr(request, DATES[header]))

    async def sends(request):
        return web.FileResponse(tmp_path / "a.txt")

    client = await aiohttp_client(lifted(path("reads/", reads), path("sends/", sends)))
    for date in UNREADABLE_DATES:
        headers = {header: date, "Range": "bytes=0-"}
        async with client.get("/reads/", headers=headers) as response:
            assert (response.status, await response.json()) == (200, None)
        async with client.get("/sends/", headers=headers) as response:
            assert await response.text() == "the file"
    assert caplog.records == []
