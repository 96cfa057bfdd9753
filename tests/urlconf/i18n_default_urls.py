"""The same, but without a prefix for the default language."""

from .i18n_urls import patterns

urlpatterns = patterns(prefix_default_language=False)
