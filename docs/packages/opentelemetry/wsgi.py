from django.core.wsgi import get_wsgi_application
from opentelemetry.instrumentation.aiohttp_server import AioHttpServerInstrumentor
from opentelemetry.instrumentation.django import DjangoInstrumentor

from aiodjango import get_aio_application

# Before the applications are made.
AioHttpServerInstrumentor().instrument()
DjangoInstrumentor().instrument()

app = get_aio_application(get_wsgi_application())
