"""Files: methods, conditions and ranges (RFC 9110, sections 9, 13 and 14)."""

import os

import pytest

from tests.support.descriptors import open_descriptors

# Of some aiohttp's own parser raises OverflowError, or ValueError.
UNREADABLE_DATES = [
    "Mon, 01 Jan 99999999999999 00:00:00 GMT",
    "Mon, 01 Jan 2020 99999999999999:00:00 GMT",
    "Mon, 99999999999999 Jan 2020 00:00:00 GMT",
    f"Mon, 01 Jan {'9' * 5000} 00:00:00 GMT",
    "Mon, 01 Jan 10000 00:00:00 GMT",
    "Mon, 31 Feb 2020 00:00:00 GMT",
    "9" * 5000,
    ",",
    "",
]
OLD, NEW = "Sun, 09 Sep 2001 01:46:39 GMT", "Sun, 09 Sep 2001 01:46:40 GMT"
CONTENT = b"0123456789"
LARGE = bytes(range(256)) * 4096  # more than goes out with the headers


@pytest.fixture
def ask(client, static):
    """Asks for a file of ten digits, last changed half a second after NEW."""
    path = static / "digits.txt"
    path.write_bytes(CONTENT)
    os.utime(path, ns=(0, 1_000_000_000_500_000_000))

    async def ask(method="GET", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.request(method, "/static/digits.txt", headers=named)

    return ask


async def test_head(ask):
    whole, head = await ask(), await ask("HEAD")
    assert (head.status, head.body) == (200, b"")
    ours = [pair for pair in whole.headers if pair[0] != "Date"]
    assert [pair for pair in head.headers if pair[0] != "Date"] == ours


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods(ask, method):
    answer = await ask(method, Content_Length="0")
    assert answer.status == 405
    assert answer.header("Allow") == "GET,HEAD"
    assert b"0123" not in answer.body


async def test_an_older_client(client, static):
    answer = await client.request("GET", "/static/a.txt", version="1.0")
    assert (answer.text, answer.header("Content-Length")) == ("static file", "11")


async def test_empty_file(client, static):
    (static / "empty.css").touch()
    for headers, status in [({}, 200), ({"Range": "bytes=0-"}, 416), ({"Range": "bytes=-5"}, 416)]:
        answer = await client.request("GET", "/static/empty.css", headers=headers)
        assert (answer.status, answer.body) == (status, b"")


class TestConditions:
    async def test_not_modified(self, ask):
        whole = await ask()
        answer = await ask(If_None_Match=whole.header("ETag"))
        assert (answer.status, answer.body) == (304, b"")
        kept = {"Cache-Control", "Etag", "Last-Modified", "Access-Control-Allow-Origin"}
        assert {name for name, _ in answer.headers} == kept | {"Date", "Server"}
        assert all(answer.header(name) == whole.header(name) for name in kept)

    async def test_etags(self, ask):
        etag = (await ask()).header("ETag")
        assert (await ask("HEAD", If_None_Match=etag)).status == 304
        assert (await ask(If_None_Match=f"W/{etag}")).status == 304
        assert (await ask(If_None_Match=f'"x", {etag}')).status == 304
        assert (await ask(If_None_Match="*")).status == 304
        assert (await ask(If_None_Match='"x"')).status == 200
        assert (await ask(If_None_Match="what is this")).status == 200
        assert (await ask(If_Match=etag)).status == 200
        assert (await ask(If_Match="*")).status == 200
        assert (await ask(If_Match=f"W/{etag}")).status == 412

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"If_Modified_Since": NEW}, 304),
            ({"If_Modified_Since": OLD}, 200),
            ({"If_Modified_Since": "yesterday"}, 200),
            *(
                ({name: date}, 200)
                for name in ("If_Modified_Since", "If_Unmodified_Since")
                for date in UNREADABLE_DATES
            ),
            ({"If_Unmodified_Since": NEW}, 200),
            ({"If_Unmodified_Since": OLD}, 412),
            # An ETag decides, where there is one.
            ({"If_Modified_Since": NEW, "If_None_Match": '"x"'}, 200),
            ({"If_Unmodified_Since": OLD, "If_Match": "*"}, 200),
            ({"If_Unmodified_Since": OLD, "If_None_Match": "*"}, 412),
        ],
    )
    async def test_dates(self, ask, headers, status):
        answer = await ask(**headers)
        assert (answer.status, answer.body) == (status, CONTENT if status == 200 else b"")

    async def test_a_failed_condition_is_not_to_be_kept(self, ask):
        answer = await ask(If_Match='"x"')
        assert (answer.status, answer.header("Cache-Control")) == (412, None)

    async def test_a_changed_file(self, ask, static):
        etag = (await ask()).header("ETag")
        (static / "digits.txt").write_bytes(CONTENT[::-1])
        assert (await ask(If_None_Match=etag)).body == CONTENT[::-1]


class TestRanges:
    @pytest.mark.parametrize(
        ("wanted", "first", "last"),
        [
            ("bytes=0-0", 0, 0),
            ("bytes=2-4", 2, 4),
            ("Bytes=8-", 8, 9),
            ("bytes=5-5000", 5, 9),
            ("bytes=-3", 7, 9),
            ("bytes=-5000", 0, 9),
        ],
    )
    async def test_part(self, ask, wanted, first, last):
        answer = await ask(Range=wanted)
        assert (answer.status, answer.body) == (206, CONTENT[first : last + 1])
        assert answer.header("Content-Range") == f"bytes {first}-{last}/10"
        assert answer.header("Content-Type") == "text/plain; charset=utf-8"

    @pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=10-20", "bytes=-0"])
    async def test_no_such_part(self, ask, wanted):
        answer = await ask(Range=wanted)
        assert (answer.status, answer.body) == (416, b"")
        assert answer.header("Content-Range") == "bytes */10"
        assert answer.header("Cache-Control") is None

    @pytest.mark.parametrize(
        "wanted",
        ["bytes=0-1,4-5", "bytes=4-2", "bytes=-", "bytes=x", "lines=1-2", f"bytes=0-{'9' * 5000}"],
    )
    async def test_is_ignored(self, ask, wanted):
        answer = await ask(Range=wanted)
        assert (answer.status, answer.body) == (200, CONTENT)

    async def test_is_for_get_alone(self, ask):
        answer = await ask("HEAD", Range="bytes=0-1")
        assert (answer.status, answer.header("Content-Length")) == (200, "10")

    async def test_if_it_is_still_the_same(self, ask):
        etag = (await ask()).header("ETag")
        for value, status in [
            (etag, 206),
            (f"W/{etag}", 200),
            ('"x"', 200),
            (NEW, 206),
            (OLD, 200),
            ("Sun, 09 Sep 2001 01:46:41 GMT", 200),
            *((date, 200) for date in UNREADABLE_DATES),
        ]:
            answer = await ask(Range="bytes=0-1", If_Range=value)
            assert (answer.status, len(answer.body)) == (status, 2 if status == 206 else 10)

    async def test_conditions_come_first(self, ask):
        assert (await ask(Range="bytes=0-1", If_Modified_Since=NEW)).status == 304


class TestLargeFiles:
    async def test_whole_and_in_parts(self, client, static):
        (static / "large.bin").write_bytes(LARGE)
        answer = await client.request("GET", "/static/large.bin")
        assert (answer.header("Content-Length"), answer.body) == (str(len(LARGE)), LARGE)
        for first, last in [(1, 200_000), (1000, 1001), (100_000, len(LARGE) - 1)]:
            headers = {"Range": f"bytes={first}-{last}"}
            answer = await client.request("GET", "/static/large.bin", headers=headers)
            assert (answer.status, answer.body) == (206, LARGE[first : last + 1])
        assert (await client.request("HEAD", "/static/large.bin")).body == b""

    async def test_the_connection_goes_on(self, client, static):
        (static / "large.bin").write_bytes(LARGE)
        await client.send(b"GET /static/large.bin HTTP/1.1\r\nHost: test\r\n\r\n" * 3)
        for _ in range(3):
            assert (await client.answer()).body == LARGE

    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")
    async def test_no_descriptor_is_left(self, client, static):
        (static / "large.bin").write_bytes(LARGE)
        before = open_descriptors()
        for headers in [{}, {"If-None-Match": "*"}, {"Range": "bytes=0-"}, {"Range": "bytes=-0"}]:
            for method in ["GET", "HEAD"]:
                for name in ["a.txt", "large.bin", "none.txt"]:
                    await client.request(method, f"/static/{name}", headers=headers)
        assert open_descriptors() == before
