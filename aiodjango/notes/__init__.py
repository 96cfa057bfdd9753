"""Help for developers: what a common mistake is and what to write; which line blocks the loop."""

from .blocking import watch_loop
from .deployment import proxy_hint, warn_of_settings
from .errors import explain_errors
from .results import advice
from .servers import gunicorn_command, refuse_other_servers
from .templates import guard_templates

__all__ = [
    "advice",
    "explain_errors",
    "guard_templates",
    "gunicorn_command",
    "proxy_hint",
    "refuse_other_servers",
    "warn_of_settings",
    "watch_loop",
]
