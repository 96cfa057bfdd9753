"""Settings of Django's own test suite, with the clients and the live server of aiodjango."""

DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3"},
    "other": {"ENGINE": "django.db.backends.sqlite3"},
}
SECRET_KEY = "not a secret: used by the test suite alone"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
USE_TZ = False
# Imported before the tests are.
TEST_RUNNER = "aio_runner.Runner"
