from django import forms
from django.utils.text import slugify

from .models import Message, Room


class RoomForm(forms.ModelForm):
    """A new room; its address is made from its name."""

    class Meta:
        model = Room
        fields = ["name", "topic"]

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        self.instance.slug = slugify(name)
        if not self.instance.slug:
            raise forms.ValidationError("Use a few letters or digits.")
        if Room.objects.filter(slug=self.instance.slug).exists():
            raise forms.ValidationError("There is a room with that name.")
        return name


class MessageForm(forms.Form):
    """A message as the browser sends it through the WebSocket."""

    text = forms.CharField(max_length=Message.MAX_LENGTH)
    ref = forms.UUIDField()
