"""A database backend that notes the tenant, and sets it with the next query, as django-tenants."""

from django.db.backends.postgresql import base


class DatabaseWrapper(base.DatabaseWrapper):
    def __init__(self, *args, **kwargs):
        self.tenant = ""
        super().__init__(*args, **kwargs)

    def set_tenant(self, tenant):
        self.tenant = tenant

    def _cursor(self, name=None):
        cursor = super()._cursor(name)
        if self.tenant:
            with self.connection.cursor() as own:
                own.execute("SELECT set_config('app.tenant', %s, false)", [self.tenant])
        return cursor
