"""The default back end, for a single process."""

from .backend import Backend


class MemoryBackend(Backend):
    """Delivers to the subscribers in this process only."""

    is_remote = False
