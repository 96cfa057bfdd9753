"""The default back end: one process."""

from .backend import Backend


class MemoryBackend(Backend):
    """Reaches the subscribers of this process, and no other."""

    is_remote = False
