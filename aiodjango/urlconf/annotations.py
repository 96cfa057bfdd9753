"""What the first parameter of a view is annotated with."""

import inspect
import re
import sys
import typing
from typing import Any

# From Python 3.14 on reading an annotation evaluates it, unless it is asked for as a string.
_AS_STRINGS: dict[str, Any] = {}
if sys.version_info >= (3, 14):  # pragma: no cover
    import annotationlib

    _AS_STRINGS["annotation_format"] = annotationlib.Format.STRING


def first_parameter_is(view: Any, kind: type, *names: str) -> bool:
    """Whether the first parameter of `view` is annotated as `kind` or a subclass of it.

    names: the ends of names that count as such where an annotation cannot be evaluated, because
        it names what is imported for type checkers only.
    """
    try:
        annotation = _first_annotation(view)
    except (TypeError, ValueError):  # a callable without a signature
        return False
    if isinstance(annotation, str):
        return any(name.endswith(names) for name in re.findall(r"[\w.]+", annotation))
    found = typing.get_args(annotation) or (annotation,)  # the members of a union
    return any(isinstance(member, type) and issubclass(member, kind) for member in found)


def _first_annotation(view: Any) -> Any:
    """Evaluated, or as a string where that fails."""
    try:
        signature = inspect.signature(view, follow_wrapped=False, eval_str=True)
    except Exception:  # an annotation may be any text
        signature = inspect.signature(view, follow_wrapped=False, **_AS_STRINGS)
    return next((parameter.annotation for parameter in signature.parameters.values()), None)
