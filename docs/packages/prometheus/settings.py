INSTALLED_APPS += ["django_prometheus"]
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    *MIDDLEWARE,
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
# The middleware in wsgi.py counts coroutine views.
SILENCED_SYSTEM_CHECKS = [
    "aiodjango.W004.django_prometheus.middleware.PrometheusBeforeMiddleware",
    "aiodjango.W004.django_prometheus.middleware.PrometheusAfterMiddleware",
]
