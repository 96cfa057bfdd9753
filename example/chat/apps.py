from django.apps import AppConfig


class ChatConfig(AppConfig):
    name = "example.chat"
    verbose_name = "Chat"
