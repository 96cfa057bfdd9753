"""``manage.py aioroutes``: the coroutine views of the URLconf."""

import json
from collections import defaultdict
from typing import Any, NamedTuple

from django.core.management.base import BaseCommand, CommandParser

from aiodjango.urlconf.patterns import read_urlconf
from aiodjango.urlconf.shadows import find_shadows


class Row(NamedTuple):
    path: str
    view: str
    name: str
    shadows: list[str]


class Command(BaseCommand):
    help = (
        "Lists the coroutine views of ROOT_URLCONF, with the earlier patterns whose paths they "
        "take."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--format",
            choices=["table", "json"],
            default="table",
            help="The format of the list (default: table).",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        rows = _rows()
        if options["format"] == "json":
            self.stdout.write(json.dumps([row._asdict() for row in rows], indent=2))
        elif rows:
            self.stdout.write(_table(rows))
        else:
            self.stdout.write("ROOT_URLCONF contains no coroutine view.")


def _rows() -> list[Row]:
    patterns = read_urlconf()
    shadowed = defaultdict(list)
    for shadow in find_shadows(patterns):
        shadowed[shadow.coroutine].append(f"{shadow.sync} ({shadow.sync.view_name})")
    return [
        Row(pattern.chain.canonical(), pattern.view_name, pattern.name or "", shadowed[pattern])
        for pattern in patterns
        if pattern.is_coroutine_view
    ]


def _table(rows: list[Row]) -> str:
    head = ("Path", "View", "Name", "Shadows")
    lines = [head, *((*row[:3], "; ".join(row.shadows)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
