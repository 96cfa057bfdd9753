from django.core.wsgi import get_wsgi_application

from aiodjango import get_aio_application

app = get_aio_application(get_wsgi_application())
