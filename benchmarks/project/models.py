from django.db import models


class Row(models.Model):
    text = models.CharField(max_length=100)
