"""A small chat site: Django for the pages, coroutine views for what is live.

`python manage.py demo` makes the database (example/db.sqlite3) and a login, `python manage.py
runserver` serves it.
"""
