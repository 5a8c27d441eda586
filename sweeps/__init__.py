"""Sweeps: functions that return runs. `find` gets one by name, or from a user's Python file."""

import contextlib
import importlib
import importlib.util
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yosinski
from yosinski.errors import BadInput, choose
from yosinski.experiment.recipes import Recipe, recipe, usual
from yosinski.experiment.run import Run
from yosinski.networks.catalogue import name_of

SWEEPS = ("figure2", "figure3", "reduced", "preserved", "volume", "transfer", "paper", "fuse", "branch")

ANY_NUMBER = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD  # of arguments, also none

Sweep = Callable[..., list[Run]]


def find(name: str) -> Sweep:
    """The sweep of this name, or the function `sweep` (or the only function) of a Python file. BadInput otherwise."""
    if not name.endswith(".py"):
        if name not in SWEEPS:
            raise BadInput(f"unknown sweep {name!r}; choose from: {', '.join(SWEEPS)}, or a path to a .py file")
        return getattr(importlib.import_module(f"sweeps.{name}"), name)
    path = Path(name)
    if not path.is_file():
        raise BadInput(f"no sweep file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses need it
    try:
        spec.loader.exec_module(module)
    except BadInput:
        raise
    except Exception as error:
        ours = isinstance(error, ImportError) and (error.name or "").startswith("yosinski")
        public = f" (yosinski has: {', '.join(yosinski.__all__)})" if ours else ""
        raise BadInput(f"{path} cannot be loaded: {type(error).__name__}: {error}{public}") from error
    functions = {
        name: function
        for name, function in vars(module).items()
        if inspect.isfunction(function) and function.__module__ == path.stem and not name.startswith("_")
    }
    if "sweep" in functions:
        return functions["sweep"]
    if len(functions) != 1:
        raise BadInput(
            f"{path} must define one function, or one named sweep; it defines: {', '.join(functions) or 'none'}"
        )
    return next(iter(functions.values()))


def arguments(sweep: Sweep, texts: Iterable[str]) -> dict[str, Any]:
    """Parse `name=value` texts as a sweep's arguments, by its annotations. Lists are separated by commas.

    0..3 in a list of whole numbers is 0, 1, 2, 3. A recipe is given by name (`recipe=emoji`). Single values such as
    `recipe.epochs=10` change it, or else the sweep's default recipe or that of the network.
    """
    hints = typing.get_type_hints(sweep, include_extras=True)
    parameters = inspect.signature(sweep).parameters
    values: dict[str, Any] = {}
    changed: dict[str, dict[str, Any]] = {}  # values of recipes
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput(f"parameter {text!r} must be given as name=value")
        name, dot, of_recipe = name.partition(".")
        if dot and Recipe in (hints.get(name), *typing.get_args(hints.get(name))):
            changed.setdefault(name, {})[of_recipe] = _literal(value)
        else:
            name += dot + of_recipe
            choose("parameter", name, list(parameters))
            values[name] = _parse(name, value, hints.get(name, str))
            if name == "network":
                values[name] = name_of(values[name])
    for name, recipe_values in changed.items():
        start = values.get(name, parameters[name].default)
        if start is None and "network" in parameters:
            start = usual(values.get("network", parameters["network"].default))
        if not isinstance(start, Recipe):
            raise BadInput(f"this sweep has no {name} of its own: give one, too, as {name}=NAME")
        values[name] = start.with_values(recipe_values)
    return values


def made(name: str, sweep: Sweep, values: Mapping[str, Any]) -> list[Run]:
    """The runs of a sweep with these arguments. BadInput if it needs others, too."""
    lacks = [
        each
        for each, parameter in inspect.signature(sweep).parameters.items()
        if parameter.default is parameter.empty and parameter.kind not in ANY_NUMBER and each not in values
    ]
    if lacks:
        options = ["--data DATA, such as imagefolder:PATH" if each == "data" else f"-p {each}=..." for each in lacks]
        raise BadInput(f"sweep {name} needs {', '.join(lacks)}: give {', '.join(options)}")
    try:
        return sweep(**values)
    except TypeError as error:
        raise BadInput(f"sweep {name}: {error}") from error


def _parse(name: str, text: str, hint: Any) -> Any:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        kinds = [kind for kind in typing.get_args(hint) if kind is not types.NoneType]
        if text in ("none", "all") and types.NoneType in typing.get_args(hint):
            return None
        for kind in kinds[:-1]:
            with contextlib.suppress(BadInput):
                return _parse(name, text, kind)
        return _parse(name, text, kinds[-1])
    if typing.get_origin(hint) in (tuple, list):
        kind = typing.get_args(hint)[0]
        items = [item for part in text.split(",") if part for item in (ranged(name, part) if kind is int else [part])]
        return typing.get_origin(hint)(_parse(name, item, kind) for item in items)
    if hint is Recipe:
        return recipe(text)
    if hint is bool:
        return choose(f"value of {name}", text, ("true", "false")) == "true"
    if typing.get_origin(hint) is typing.Literal:
        return choose(f"value of {name}", text, typing.get_args(hint))
    if typing.get_origin(hint) is typing.Annotated:
        valid = hint.__metadata__[0]
        return choose(f"value of {name}", text, list(valid() if inspect.isfunction(valid) else valid))
    try:
        return hint(text)
    except ValueError as error:
        raise BadInput(f"parameter {name} takes {hint.__name__}, not {text!r}") from error


def ranged(name: str, text: str) -> list[str]:
    """0..3 is 0, 1, 2, 3, as texts; anything else is itself. BadInput for a range that is empty."""
    first, dots, last = text.partition("..")
    if not (dots and first.isdecimal() and last.isdecimal()):
        return [text]
    if int(last) < int(first):
        raise BadInput(f"parameter {name} takes ranges from low to high, not {text!r}")
    return [str(k) for k in range(int(first), int(last) + 1)]


def _literal(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def describe(sweep: Sweep, values: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of a sweep with their values, as JSON values.

    `divisions` and `tower` came later, and are left out where they have their defaults: what lists a sweep's runs keeps
    its name.
    """
    bound = inspect.signature(sweep).bind_partial(**values)
    bound.apply_defaults()
    return {
        name: v.values if isinstance(v, Recipe) else v
        for name, v in bound.arguments.items()
        if (name, v) not in (("divisions", (0,)), ("tower", "textnet"))
    }
