"""Django's test runner, with the clients and the live server of aiodjango in place of Django's own.

Imported by Django's runtests.py, before the test modules are. Writes to the file that RESULTS names
which tests failed, with their tracebacks, which were skipped, and which passed.
"""

import json
import os
import unittest

import django.test
import django.test.client
import django.test.testcases
from asgiref.sync import async_to_sync
from django.test.runner import DiscoverRunner

from aiodjango.test import AioClient, AioLiveServerTestCase


class SyncClient(django.test.Client):
    """Django's client, with an AioClient that makes its requests."""

    def __init__(self, enforce_csrf_checks=False, raise_request_exception=True, **options):
        super().__init__(enforce_csrf_checks, raise_request_exception, **options)
        self._made_with = (enforce_csrf_checks, options)

    def _call(self, method, *args, **kwargs):
        enforce_csrf_checks, options = self._made_with
        client = AioClient(enforce_csrf_checks, self.raise_request_exception, **options)
        client.defaults, client.cookies = self.defaults, self.cookies
        try:
            response = async_to_sync(getattr(client, method))(*args, **kwargs)
        finally:
            self.cookies = client.cookies
            self.extra, self.headers = client.extra, client.headers
        response.client = self
        return response


def _calling(method):
    def call(self, *args, **kwargs):
        return self._call(method, *args, **kwargs)

    return call


for name in ("get", "head", "post", "put", "patch", "delete", "options", "trace", "generic"):
    setattr(SyncClient, name, _calling(name))

for module in (django.test, django.test.client, django.test.testcases):
    module.Client, module.AsyncClient = SyncClient, AioClient
    module.LiveServerTestCase = AioLiveServerTestCase
django.test.SimpleTestCase.client_class = SyncClient
django.test.SimpleTestCase.async_client_class = AioClient


class Result(unittest.TextTestResult):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.passed, self.failed, self.missed = set(), {}, {}

    def startTest(self, test):
        super().startTest(test)
        self.passed.add(test.id())

    def addError(self, test, err):
        super().addError(test, err)
        self._note(test, err)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._note(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test, err)

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.failed[test.id()] = "unexpected success"

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.missed[test.id()] = reason

    def _note(self, test, err):
        self.failed.setdefault(test.id(), self._exc_info_to_string(err, test))

    def outcome(self):
        passed = self.passed - self.failed.keys() - self.missed.keys()
        return {"passed": sorted(passed), "failed": self.failed, "skipped": self.missed}


class Runner(DiscoverRunner):
    def get_resultclass(self):
        return Result

    def suite_result(self, suite, result, **kwargs):
        with open(os.environ["RESULTS"], "w") as file:
            json.dump(result.outcome(), file, indent=1)
        return super().suite_result(suite, result, **kwargs)
