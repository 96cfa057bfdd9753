"""Django's own tests of its test client, on ours."""

import django
import pytest

from tests.system.django_suites.run import (
    DJANGO,
    NoSource,
    compare,
    download_tests,
    read_list,
    run_suites,
)


@pytest.mark.skipif(
    django.VERSION[:2] != DJANGO, reason="the list is for another version of Django"
)
@pytest.mark.timeout(600)
def test_suites_of_django(tmp_path):
    try:
        tests = download_tests(tmp_path)
    except NoSource as error:
        pytest.skip(f"needs the source distribution of Django: {error}")
    outcome, output = run_suites(tests)
    assert len(outcome["passed"]) > 800, output
    assert "\n\n".join(compare(outcome, read_list())) == ""


def test_comparison():
    outcome = {"passed": ["a", "b"], "failed": {"c": "why", "d": "why"}, "skipped": {"e": "why"}}
    assert compare(outcome, {"c": "reason", "d": "reason"}) == []
    assert compare(outcome, {"b": "reason", "c": "reason", "e": "reason"}) == [
        "d failed:\nwhy",
        "b is listed, and passes",
        "e is listed, and was not run",
    ]
