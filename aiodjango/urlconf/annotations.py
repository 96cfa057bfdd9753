"""What the first parameter of a view is annotated with."""

import ast
import functools
import importlib
import inspect
import sys
import typing
from types import FunctionType, ModuleType
from typing import Any

# An annotation that needs more names than this isn't a request's type.
_MAX_NAMES = 8


def first_parameter_is(view: Any, kind: type) -> bool:
    """Whether the first parameter of `view` is annotated as `kind` or a subclass of it.

    The annotation may be a string and name what is imported for type checkers only.
    """
    annotation = _first_annotation(view)
    if isinstance(annotation, str):
        annotation = _evaluate(annotation, view)
    found = typing.get_args(annotation) or (annotation,)  # the members of a union
    return any(isinstance(member, type) and issubclass(member, kind) for member in found)


def _first_annotation(view: Any) -> Any:
    options: dict[str, Any] = {"follow_wrapped": False}
    if sys.version_info < (3, 14):
        if isinstance(view, FunctionType) and not view.__annotations__:
            return None  # the usual case, without the cost of a signature
    else:  # pragma: no cover - Python 3.14
        # There, reading an annotation evaluates it, which fails for type checkers' names.
        import annotationlib

        options["annotation_format"] = annotationlib.Format.STRING
    try:
        parameters = inspect.signature(view, **options).parameters
    except (TypeError, ValueError):  # a callable without a signature
        return None
    return next((parameter.annotation for parameter in parameters.values()), None)


def _evaluate(annotation: str, view: Any) -> Any:
    """Return what a string annotation stands for, or None where that can't be known."""
    function = _function(view)
    names = dict(getattr(function, "__globals__", {}))
    for _ in range(_MAX_NAMES):
        try:
            return eval(annotation, names)
        except NameError as error:
            name = str(error.name)
            names[name] = _import_for_type_checkers(name, inspect.getmodule(function))
        except Exception:  # any text may stand in an annotation
            break
    return None


def _function(view: Any) -> Any:
    """The function in which the parameters of a view are written down."""
    while isinstance(view, functools.partial):
        view = view.func
    if not inspect.isroutine(view):
        view = type(view).__call__
    return getattr(view, "__func__", view)


def _import_for_type_checkers(name: str, module: ModuleType | None) -> Any:
    """Import what a module binds to `name` under TYPE_CHECKING; None if there's no such thing."""
    for statement in _type_checking_imports(module) if module else ():
        for alias in statement.names:
            if name != (alias.asname or alias.name.partition(".")[0]):
                continue
            try:
                if isinstance(statement, ast.ImportFrom):
                    source = "." * statement.level + (statement.module or "")
                    package = getattr(module, "__package__", None)
                    return getattr(importlib.import_module(source, package), alias.name)
                imported = importlib.import_module(alias.name)
                return imported if alias.asname else sys.modules[name]
            except Exception:  # stub packages exist for type checkers alone
                return None
    return None


@functools.lru_cache(maxsize=64)
def _type_checking_imports(module: ModuleType) -> list[ast.Import | ast.ImportFrom]:
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):  # no source at hand
        return []
    return [
        statement
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for line in block.body
        for statement in ast.walk(line)
        if isinstance(statement, ast.Import | ast.ImportFrom)
    ]
