"""What database backends derived from Django's keep in their connections, such as a tenant."""

from collections.abc import Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

_MISSING = object()


class Attributes:
    """The attributes of a connection that are not Django's own, as they were at first."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        # The backend of Django's that this one is, or is derived from.
        self._base: Any = next(
            base for base in type(connection).__mro__ if base.__module__.startswith("django.")
        )
        # BaseDatabaseWrapper itself is abstract: of what is derived from it nothing can be told.
        self.is_foreign = self._base not in (type(connection), BaseDatabaseWrapper)
        if self.is_foreign:
            settings = connection.settings_dict
            self._of_django = vars(self._base(settings, connection.alias)).keys()
            self._first = self._now()

    def are_changed(self) -> bool:
        return bool(_difference(self._first, self._now()))

    def accept_changes_of(self, connect: Any) -> None:
        """Call a function that changes attributes in every session alike."""
        if not self.is_foreign:
            connect()
            return
        before = self._now()
        connect()
        self._first.update(_difference(before, self._now()))

    def _now(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in vars(self._connection).items()
            # What a class has too is an overridden method, or a cached property.
            if name not in self._of_django and not hasattr(self._base, name)
        }


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in after.items() if before.get(name, _MISSING) is not value}
