"""What every verb of ``crossvote.face`` asks of the arguments that several of them have, checked by name."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from crossvote.sim.array.image import Image
from crossvote.sim.array.silicon import Silicon
from crossvote.sim.common.errors import UserError
from crossvote.sim.common.extras import missing

P = ParamSpec("P")
R = TypeVar("R")


def checked(verb: Callable[P, R]) -> Callable[P, R]:
    """The verb, which refuses arguments that are of no use to it before it begins.

    Raises:
        UserError: such an argument, with its name and what is needed; or a package that the verb needs is not
            installed, with the extra that brings it.
    """
    signature = inspect.signature(verb)
    own = {name: _CHECKS[name] for name in signature.parameters if name in _CHECKS}

    @functools.wraps(verb)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        given = signature.bind(*arguments, **named).arguments
        for name, check in own.items():
            if name in given and given[name] is not signature.parameters[name].default:
                check(f"{verb.__name__}: {name}", given[name])
        try:
            return verb(*arguments, **named)
        except ModuleNotFoundError as error:
            sentence = missing(error, verb.__name__)
            if sentence is None:
                raise
            raise UserError(sentence) from None

    return call


def _refused(where: str, value: Any, needed: str) -> UserError:
    shown = " ".join(repr(value).split())
    return UserError(f"{where} = {shown if len(shown) <= 60 else f'{shown[:57]}...'}: {needed} is needed.")


def _whole(lowest: int, highest: int | None = None) -> Callable[[str, Any], None]:
    """A whole number from ``lowest`` to ``highest``; NumPy's count."""
    needed = f"a whole number of at least {lowest}" if highest is None else f"a whole number {lowest} to {highest:,}"

    def check(where: str, value: Any) -> None:
        try:
            number = operator.index(value)
        except TypeError:
            raise _refused(where, value, needed) from None
        if isinstance(value, bool) or number < lowest or (highest is not None and number > highest):
            raise _refused(where, value, needed)

    return check


def _rate(where: str, value: Any) -> None:
    try:
        good = not isinstance(value, bool | str) and 0 < float(value) <= 1
    except (TypeError, ValueError):
        good = False
    if not good:
        raise _refused(where, value, "a fault rate, which must be above 0 and at most 1,")


def _model(where: str, value: Any) -> None:
    from crossvote.face import Model

    if not isinstance(value, Model):
        raise _refused(where, value, "a Model, which load, finetune and prune give,")


def _task(where: str, value: Any) -> None:
    from crossvote.swstack.tasks import Task

    if not isinstance(value, Task):
        raise _refused(where, value, "a Task, which task gives,")


def _image(where: str, value: Any) -> None:
    several = list(value.values()) if isinstance(value, Mapping) else [value]
    if not several or not all(isinstance(one, Image) for one in several):
        raise _refused(where, value, "an Image, which map gives,")


def _silicon(where: str, value: Any) -> None:
    if not isinstance(value, Silicon):
        raise _refused(where, value, "a Silicon, one of what chips gives,")


def _chips(where: str, value: Any) -> None:
    if not isinstance(value, Sequence) or isinstance(value, str) or not all(isinstance(one, Silicon) for one in value):
        raise _refused(where, value, "a list of Silicon, which chips gives,")


def _scheme(where: str, value: Any) -> None:
    from crossvote.swstack.mapping.scheme import Scheme

    if not isinstance(value, str | Scheme):
        raise _refused(where, value, "the name of a scheme, or a Scheme,")


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "seed": _whole(0),
    "number": _whole(1, 10_000),
    "tokens": _whole(1, 65_536),
    "sequences": _whole(1, 65_536),
    "context": _whole(0, 1_000_000),
    "rate": _rate,
    "model": _model,
    "data": _task,
    "image": _image,
    "silicon": _silicon,
    "chips": _chips,
    "scheme": _scheme,
}
