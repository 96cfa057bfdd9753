"""Make the project's tables: python -m benchmarks.project.create"""

from . import entry

ROWS = 100


def main() -> None:
    entry.wsgi()  # which sets Django up
    from django.db import connections

    from .models import Row

    for connection in connections.all():
        with connection.schema_editor() as editor:
            editor.create_model(Row)
        rows = [Row(text=f"row {number}") for number in range(ROWS)]
        Row.objects.using(connection.alias).bulk_create(rows)


if __name__ == "__main__":
    main()
