from django.conf import settings
from django.db import models


class Order(models.Model):
    seller = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)


class Job(models.Model):
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField()
