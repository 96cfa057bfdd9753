from django.db import models


class Note(models.Model):
    text = models.CharField(max_length=200)
    author = models.CharField(max_length=150, blank=True)

    def __str__(self):
        return self.text
