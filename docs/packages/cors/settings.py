INSTALLED_APPS += ["corsheaders"]
MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware", *MIDDLEWARE]
# Whose pages may read answers, and whose may also send forms and open WebSockets.
CORS_ALLOWED_ORIGINS = ["https://app.example"]
CSRF_TRUSTED_ORIGINS = ["https://app.example"]
