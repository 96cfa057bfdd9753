"""Who has which room open, in this process."""

from collections import Counter, defaultdict


class Presence:
    """Connections per room and name. A person with two tabs is still one person."""

    def __init__(self) -> None:
        self._rooms: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def enter(self, room: str, name: str) -> None:
        """Note a connection; guests, who have no name, enter as ""."""
        self._rooms[room][name] += 1

    def leave(self, room: str, name: str) -> None:
        names = self._rooms[room]
        names[name] -= 1
        if not names[name]:
            del names[name]
        if not names:
            del self._rooms[room]

    def rooms(self) -> list[str]:
        return list(self._rooms)

    def people(self, room: str) -> list[str]:
        return sorted(name for name in self._rooms.get(room, ()) if name)

    def guests(self, room: str) -> int:
        return self._rooms[room][""] if room in self._rooms else 0


presence = Presence()
