from aiodjango import get_aio_application

app = get_aio_application(include_static=True)
