import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

from aiodjango import get_aio_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.system.deploy.project.settings")

# Static files come through the fallback, as any WSGI middleware's answers do.
application = StaticFilesHandler(get_wsgi_application())
app = get_aio_application(application)
