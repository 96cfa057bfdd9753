"""A reader of a page: puts each file where its caption says, and runs each command, in order."""

import ast
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.support.environment import ROOT, environment
from tests.support.server import DEADLINE, Server, run, serve
from tests.support.waiting import wait_until

DOCS = ROOT / "docs"
PASSWORD = "correct horse"
TITLE = re.compile(r"^(.+)\n-{4,}$", re.M)
DIRECTIVE = re.compile(r"^\.\. (literalinclude|code-block):: (.+)\n((?:   .*\n|\n)*)", re.M)
SESSION = re.compile(r"^   \$ (.+)\n((?:   (?!\$ ).*\n)*)", re.M)
# What a test must not do to the machine that it runs on.
SKIPPED = ("python3 -m venv ", ". venv/", "pip install ")


class File(NamedTuple):
    source: Path
    caption: str  # where it belongs; for settings.py, what in it changes


class Command(NamedTuple):
    line: str
    output: str  # as the page shows it


def read_page(name: str) -> dict[str, list[File | Command]]:
    """What a page has its reader do, by section."""
    titles = list(TITLE.finditer(text := (DOCS / name).read_text()))
    ends = [title.start() for title in titles[1:]] + [len(text)]
    return {
        title[1]: list(read_section(text[title.end() : end]))
        for title, end in zip(titles, ends, strict=True)
    }


def read_section(text: str) -> Iterator[File | Command]:
    for kind, argument, rest in DIRECTIVE.findall(text):
        if kind == "literalinclude":
            yield File(DOCS / argument, re.search(r":caption: (.+)", rest)[1])
        elif argument == "console":
            for line, output in SESSION.findall(rest):
                yield Command(line, re.sub("^   ", "", output, flags=re.M))


class Reader:
    """Somebody who works through a page in a folder of their own."""

    def __init__(self, page: str, folder: Path, replaced: Mapping[str, str] | None = None) -> None:
        """replaced: what differs from the page in the files, as the address of a server."""
        self.sections = read_page(page)
        self._replaced = replaced or {}
        self.folder = folder
        self.log = folder / "log"
        self.server: Server | None = None
        self.output = ""  # what the latest command printed, other than a server
        self.shown: list[Command] = []  # requests of the section, with the documented answers
        self._to_do = list(self.sections)
        self._serving = ExitStack()

    def close(self) -> None:
        self._serving.close()

    def read(self, title: str) -> Server:
        """Do what the page says, up to the section's end; return the latest server."""
        while title in self._to_do:
            self.shown = []
            for step in self.sections[self._to_do.pop(0)]:
                if isinstance(step, File):
                    self.put(step)
                else:
                    self.do(step)
        if self.server is None:
            raise RuntimeError(f"Up to {title!r} the page starts no server.")
        return self.server

    def put(self, file: File) -> None:
        path, _, part = file.caption.partition(", ")
        target = self.folder / path
        text = file.source.read_text()
        for old, new in self._replaced.items():
            text = text.replace(old, new)
        if part:
            target.write_text(with_settings(target.read_text(), text))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

    def do(self, command: Command) -> None:
        line = command.line
        if line.startswith(SKIPPED):
            return
        program, *arguments = shlex.split(line)
        if program == "cd":
            self.folder /= arguments[0]
        elif program == "curl":
            self.shown.append(command)
        elif program == "gunicorn":
            options = ["--bind=fd://{fd}", "--no-control-socket"]
            self.start(serve, ["-m", "gunicorn", *arguments, *options])
        elif arguments[:2] == ["manage.py", "runserver"]:
            # The reloader is tested elsewhere; here it would take its time for each section.
            self.start(run, [*arguments, "127.0.0.1:0", "--noreload"], 0)
            self.server.address = self.listening_port()
        else:
            self.output = self.call(program, *arguments)
            assert tidy(command.output) in tidy(self.output)

    def start(self, how, command: list[str], *address: int) -> None:
        self._serving.close()
        options = {"cwd": self.folder, "settings": "mysite.settings"}
        self.server = self._serving.enter_context(how(command, *address, self.log, **options))

    def listening_port(self) -> int:
        """Wait for runserver's banner."""
        server, pattern = self.server, re.compile(r"server at http://127\.0\.0\.1:(\d+)/")
        wait_until(lambda: pattern.search(server.output()) or server.process.poll() is not None)
        if not (banner := pattern.search(server.output())):
            raise RuntimeError(f"the server did not start:\n{server.output()}")
        return int(banner[1])

    def call(self, program: str, *arguments: str) -> str:
        """Run a command to its end; return what it printed."""
        if program == "django-admin":
            arguments = ("-m", "django", *arguments)
        elif program != "python":
            raise ValueError(f"The page names a command that its reader doesn't know: {program}")
        if "createsuperuser" in arguments:
            arguments += ("--noinput",)  # the password is asked for at a terminal otherwise
        done = subprocess.run(
            [sys.executable, "-Werror", *arguments],
            cwd=self.folder,
            env=environment(PYTHONPATH=str(ROOT), DJANGO_SUPERUSER_PASSWORD=PASSWORD),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout


def tidy(output: str) -> str:
    """Without the blanks at the ends of lines."""
    return "\n".join(line.rstrip() for line in output.splitlines())


def with_settings(text: str, changes: str) -> str:
    """A settings module with some assignments changed, or added at its end."""
    for change in ast.parse(changes).body:
        new = ast.get_source_segment(changes, change)
        old = [node for node in ast.parse(text).body if name_of(node) == name_of(change)]
        if old:
            text = text.replace(ast.get_source_segment(text, old[0]), new)
        else:
            text = f"{text}\n{new}\n"
    return text


def name_of(node: ast.stmt) -> str | None:
    return node.targets[0].id if isinstance(node, ast.Assign) else None
