"""URLconfs, and the paths of requests to them, for property tests."""

from urllib.parse import quote

from django.urls import URLPattern, URLResolver, include, path, re_path, register_converter
from django.urls.converters import get_converters
from hypothesis import strategies as st


class EvenConverter:
    """Its to_python() refuses half of what its regex takes."""

    regex = "[0-9]+"

    def to_python(self, value):
        number = int(value)
        if number % 2:
            raise ValueError("odd")
        return number

    def to_url(self, value):
        return str(value)


class SlashedConverter:
    """It takes slashes, and as few characters as possible."""

    regex = ".+?"

    def to_python(self, value):
        return value.split("/")

    def to_url(self, value):
        return "/".join(value)


for name, converter in {"even": EvenConverter, "slashed": SlashedConverter}.items():
    if name not in get_converters():
        register_converter(converter, name)

UUID = "00000000-0000-0000-0000-00000000000a"
LITERALS = [
    *(
        "",
        "a",
        "b",
        "ab",
        "a/",
        "b/",
        "a/b/",
        "1/",
        "ü/",
        "a b/",
        "a+b/",
        "100%/",
        "x.y",
        "/",
        "//a",
    )
]
# Each with texts that it takes (most of the time).
PARAMETERS = {
    "int": ["1", "12"],
    "str": ["a", "ab", "ü", "1"],
    "slug": ["a-b_c", "a", "12"],
    "path": ["a", "a/b", "a//b/"],
    "even": ["1", "2", "12"],
    "slashed": ["a", "a/b"],
    "uuid": [UUID],
}
REGEXES = {
    r"": [""],
    r"^": [""],
    r"^$": [""],
    r"^a/$": ["a/"],
    r"a/": ["a/", "ba/"],
    r"a": ["a", "1a1"],
    r"b$": ["b", "ab"],
    r"^a\Z": ["a"],
    r"^(\d+)/$": ["1/", "12/"],
    r"^(\d+)/(\w+)?/?$": ["1/", "1/a", "1/ü/"],
    r"^(?P<x>\d+)/$": ["1/"],
    r"^(?P<x>a)?b?/$": ["/", "a/", "b/", "ab/"],
    r"^a(?:/(?P<y>b))?/?$": ["a", "a/", "a/b", "a/b/"],
    r"(?i)^A/$": ["a/", "A/"],
    r"^[^/]+/": ["a/", "12/"],
    r"^(?P<x>[^/]*)/(?P<y>.*)$": ["/", "a/b", "a/"],
    r"^a/|b/$": ["a/", "b/", "ab/"],
    r"^(?:a|b)/": ["a/", "b/"],
    r"^a(?=/)": ["a", "a/"],
    r"^ü/$": ["ü/"],
    r"^(([ab])/)+$": ["a/", "a/b/"],
    r"^\w+/\Z": ["a/", "ü/"],
    r"^a\n?$": ["a", "a\n"],
    r"^100%/$": ["100%/"],
    r"^x\.y$": ["x.y"],
    r"^(a)/(?P<x>b)/$": ["a/b/"],
}
EXTRAS = [{}, {}, {}, {"extra": 1}, {"x": "fixed"}]


@st.composite
def routes(draw):
    """Routes of path(), with distinct parameter names, as (route, a text that it takes)."""
    route, text = "", ""
    for position in range(draw(st.integers(0, 2))):
        literal = draw(st.sampled_from(LITERALS))
        route, text = route + literal, text + literal
        if draw(st.booleans()):
            parameter = draw(st.sampled_from(list(PARAMETERS)))
            slash = draw(st.sampled_from(["", "/"]))
            route += f"<{parameter}:p{position}>{slash}"
            text += draw(st.sampled_from(PARAMETERS[parameter])) + slash
    return route, text


@st.composite
def regexes(draw):
    """Regular expressions, as (regex, a text that it takes)."""
    regex = draw(st.sampled_from(list(REGEXES)))
    return regex, draw(st.sampled_from(REGEXES[regex]))


@st.composite
def patterns(draw, views):
    """URL patterns, as (pattern, paths that it takes)."""
    make = draw(st.sampled_from([path, re_path]))
    text, sample = draw(routes() if make is path else regexes())
    extra = draw(st.sampled_from(EXTRAS))
    return make(text, draw(views), extra), [sample]


@st.composite
def includes(draw, children):
    make = draw(st.sampled_from([path, re_path]))
    text, sample = draw(routes() if make is path else regexes())
    extra = draw(st.sampled_from(EXTRAS))
    inner = draw(st.lists(children, max_size=3))
    node = make(text, include([pattern for pattern, _ in inner]), extra)
    return node, [sample + below for _, samples in inner for below in samples]


@st.composite
def urlconfs(draw, views):
    """URLconfs with the paths of requests to them, as (list of patterns, list of raw paths).

    views: a strategy that draws a view for each pattern.
    """
    children = st.recursive(patterns(views), includes, max_leaves=8)
    drawn = draw(st.lists(children, min_size=1, max_size=5))
    samples = [sample for _, samples in drawn for sample in samples]
    paths = draw(st.lists(raw_paths(samples), min_size=1, max_size=6))
    return [pattern for pattern, _ in drawn], paths


PIECES = [
    *(
        "a",
        "b",
        "ab",
        "/",
        "//",
        "1",
        "2",
        "12",
        "A",
        "%C3%BC",
        "%2F",
        "%20",
        "+",
        "%2B",
        "%25",
        "%0A",
        "%FF",
    ),
    *("x.y", "100%25", "%61", "a%20b", "..", "%3F", "a-b_c", "%zz", "%00", UUID),
]


@st.composite
def raw_paths(draw, samples=()):
    """Paths as clients send them: those of a URLconf, some encoded or nearly so, and any others."""
    if not samples or not draw(st.integers(0, 4)):
        return "/" + "".join(draw(st.lists(st.sampled_from(PIECES), max_size=6)))
    text = draw(st.sampled_from(samples))
    encoded = draw(st.sampled_from([quote, _quote_slashes, _quote_all, _quote_some]))
    tail = draw(st.sampled_from(["", "", "", "", "/", "%0A", "a", "%FF"]))
    return "/" + encoded(text) + tail


def _quote_slashes(text):
    return quote(text, safe="")


def _quote_all(text):
    return "".join(f"%{byte:02x}" for byte in text.encode())


def _quote_some(text):
    return quote(text[:1]) + _quote_all(text[1:2]) + quote(text[2:])


def only_lifted(patterns, is_lifted):
    """The same URLconf without the patterns of other views."""
    kept = []
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = only_lifted(pattern.url_patterns, is_lifted)
            kept.append(URLResolver(pattern.pattern, inner, pattern.default_kwargs))
        elif isinstance(pattern, URLPattern) and is_lifted(pattern.callback):
            kept.append(pattern)
    return kept
