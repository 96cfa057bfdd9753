DEBUG = True
SECRET_KEY = "public: for this page of the documentation only"
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "hello.urls"
INSTALLED_APPS = ["aiodjango", "hello"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
USE_TZ = True
