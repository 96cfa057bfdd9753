"""A task of Celery that publishes."""

import os

import django
from celery import Celery

from aiodjango.broadcast import publish

django.setup()
app = Celery("tasks", broker=os.environ["CELERY_BROKER"])


@app.task
def ring(number):
    publish("everybody", number)
