import os

from playwright.sync_api import sync_playwright

from aiodjango.test import AioStaticLiveServerTestCase
from library.models import Book


class PageTests(AioStaticLiveServerTestCase):
    @classmethod
    def setUpClass(cls):
        # Playwright's sync API has an event loop in the test's thread: Django warns of that.
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
        super().setUpClass()
        cls.playwright = cls.enterClassContext(sync_playwright())
        cls.browser = cls.playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM"))
        cls.addClassCleanup(cls.browser.close)

    def test_live_list(self):
        Book.objects.create(title="Emma")
        page = self.browser.new_page()
        page.goto(self.live_server_url)
        page.get_by_text("Emma").wait_for()
