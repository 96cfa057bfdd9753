"""The login that `manage.py demo` makes, and whether it still works."""

from functools import lru_cache

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import check_password

LOGIN = PASSWORD = "admin"


def login_works() -> bool:
    """Return whether the demo's user exists and still has the demo's password."""
    user = get_user_model().objects.filter(username=LOGIN, is_active=True).first()
    return user is not None and _is_demo_password(user.password)


@lru_cache(maxsize=1)
def _is_demo_password(encoded: str) -> bool:
    """Remembered, as hashing takes long on purpose."""
    return check_password(PASSWORD, encoded)
