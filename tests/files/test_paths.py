"""Files: no path leads out of the folder, nothing but files is served, and no folder is listed."""

import os
import resource

import pytest

from aiodjango.files.folder import Folder

OUTSIDE = [
    "../secret.txt",
    "%2e%2e/secret.txt",
    ".%2E/secret.txt",
    "..%2fsecret.txt",
    "%2e%2e%2fsecret.txt",
    "..%5csecret.txt",
    "..\\secret.txt",
    "a/../../secret.txt",
    "folder/../a.txt",
    "./a.txt",
    "/a.txt",
    "folder//a.txt",
    "folder%2fa.txt",
    "folder%5ca.txt",
    "a.txt/",
    "a.txt/.",
    "a.txt%00",
    "a.txt%00.html",
    "%00",
    "a.txt%2500",
    "%252e%252e/secret.txt",
    "..%252fsecret.txt",
    "%c0%ae%c0%ae/secret.txt",
    "%ff",
    "~root/secret.txt",
    "C:/secret.txt",
    "x" * 300,
    "x/" * 1000,
]


@pytest.mark.parametrize("folder", ["static", "media"])
async def test_what_is_no_name_of_a_file(client, roots, folder):
    (roots / folder / "folder").mkdir()
    (roots / folder / "folder" / "a.txt").write_text("secret")
    for path in [*OUTSIDE, str(roots / "secret.txt"), f"%2f{roots}/secret.txt"]:
        answer = await client.request("GET", f"/{folder}/{path}")
        assert (answer.status, answer.body) == (404, b"404: Not Found"), path


async def test_folders_are_not_listed(client, static):
    (static / "folder").mkdir()
    (static / "folder" / "index.html").write_text("index")
    for path in ["", "folder", "folder/"]:
        answer = await client.request("GET", f"/static/{path}")
        assert (answer.status, answer.body) == (404, b"404: Not Found")


async def test_the_folder_without_a_slash_is_djangos(client):
    answer = await client.request("GET", "/static")
    assert (answer.status, "<title>Not Found</title>" in answer.text) == (404, True)


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("two words.txt", "two%20words.txt"),
        ("100%.txt", "100%25.txt"),
        ("%2F.txt", "%252F.txt"),
        ("%2e%2e", "%252e%252e"),
        ("grün.txt", "gr%C3%BCn.txt"),
        ("a+b&c=d;e@f!.txt", "a+b&c=d;e@f!.txt"),
        ("what?.txt", "what%3F.txt"),
        ("..txt", "..txt"),
        (".hidden", ".hidden"),
        ("deep/in/folders.txt", "deep/in/folders.txt"),
    ],
)
async def test_names(client, static, name, url):
    (static / name).parent.mkdir(parents=True, exist_ok=True)
    (static / name).write_text(name)
    answer = await client.request("GET", f"/static/{url}?v=1")
    assert (answer.status, answer.text) == (200, name)


@pytest.mark.parametrize("folder", ["static", "media"])
async def test_links(client, roots, folder, caplog):
    root = roots / folder
    (root / "inside.txt").symlink_to(root / "a.txt")
    (root / "relative.txt").symlink_to("a.txt")
    (root / "file.txt").symlink_to(roots / "secret.txt")
    (root / "folder").symlink_to(roots)
    (root / "broken.txt").symlink_to(root / "none.txt")
    (root / "loop.txt").symlink_to(root / "loop.txt")
    # A folder's name is not the beginning of another's.
    (roots / f"{folder}-other").mkdir()
    (roots / f"{folder}-other" / "a.txt").write_text("secret")
    (root / "other.txt").symlink_to(roots / f"{folder}-other" / "a.txt")
    for name, status in [
        ("inside.txt", 200),
        ("relative.txt", 200),
        ("file.txt", 404),
        ("folder/secret.txt", 404),
        (f"folder/{folder}/a.txt", 200),
        ("broken.txt", 404),
        ("loop.txt", 404),
        ("other.txt", 404),
    ]:
        answer = await client.request("GET", f"/{folder}/{name}")
        assert (answer.status, "secret" in answer.text) == (status, False), name
    assert [record.getMessage() for record in caplog.records if record.name == "aiodjango"] == [
        f"{path} is not served: a link in {root} points to it, outside of that folder"
        for path in [f"{roots}/secret.txt"] * 2 + [f"{roots}/{folder}-other/a.txt"]
    ]


async def test_what_is_no_regular_file(client, static):
    os.mkfifo(static / "pipe")
    assert (await client.request("GET", "/static/pipe")).status == 404


def test_what_else_goes_wrong_is_an_error(static):
    """Not a file that is missing, but one that the process can't open."""
    folder = Folder(static)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            folder.open(["a.txt"])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
