import asyncio

from django.core.management.base import BaseCommand

from aiodjango import django_context
from aiodjango.broadcast import apublish
from shop.models import Order


class Command(BaseCommand):
    help = "Reminds each seller of the oldest order."

    def handle(self, **options):
        asyncio.run(self.remind())

    async def remind(self):
        async with django_context():  # the ORM works as in a coroutine view
            async for order in Order.objects.order_by("-pk"):
                await apublish(f"user-{order.seller_id}", {"order": order.pk})
