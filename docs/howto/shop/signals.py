from django.db.models.signals import post_save
from django.dispatch import receiver

from aiodjango.broadcast import publish

from .models import Order


@receiver(post_save, sender=Order)
def ring(sender, instance, created, **kwargs):
    if created:
        publish(f"user-{instance.seller_id}", {"order": instance.pk})
