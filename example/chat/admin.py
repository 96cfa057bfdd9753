from django.contrib import admin

from .models import Message, Room


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin):
    list_display = ["name", "slug", "topic"]
    search_fields = ["name", "topic"]
    prepopulated_fields = {"slug": ["name"]}


@admin.register(Message)
class MessageAdmin(admin.ModelAdmin):
    list_display = ["sent", "room", "author", "text"]
    list_display_links = ["text"]
    list_filter = ["room", "sent"]
    list_select_related = ["room", "author"]
    search_fields = ["text"]
    autocomplete_fields = ["room", "author"]
    ordering = ["-id"]
