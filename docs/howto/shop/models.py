from django.conf import settings
from django.db import models


class Order(models.Model):
    seller = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
