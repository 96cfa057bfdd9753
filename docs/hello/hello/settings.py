DEBUG = True
SECRET_KEY = "public: for this page of the documentation only"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "hello.urls"
INSTALLED_APPS = ["aiodjango"]
USE_TZ = True
