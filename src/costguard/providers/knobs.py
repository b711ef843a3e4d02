"""What of a request can be altered before it is sent, as its row says: the ceiling on its output, its model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from costguard.call import Call
from costguard.providers.rows import Route

Change = Callable[..., bool]
"""Sets fields of the body that is sent, given by name; False if that cannot be done."""

Context = tuple[tuple[str, str], ...]

DEPLOYMENTS = "/deployments/"
_DEARER = frozenset(("priority", "ultrafast", "fast"))


def deployment(*urls: Any) -> str | None:
    """Azure's name of a model in a path, for requests that name it nowhere else."""
    for url in urls:
        _, found, rest = str(url).partition(DEPLOYMENTS)
        if found:
            return rest.split("/")[0]
    return None


def dearer(body: Mapping[str, Any], place: str = "") -> Context:
    """What a request asks for at a higher price, which its hold has to cover. A cheaper tier may not be given."""
    found = []
    for name in ("service_tier", "serviceTier", "speed"):
        value = body.get(name)
        if type(value) is str and value.lower() in _DEARER:
            found.append(("speed" if name == "speed" else "service_tier", value.lower()))
    where = place or body.get("inference_geo")
    if type(where) is str:
        found.append(("inference_geo", where.lower()))
    return tuple(sorted(found))


def placed(context: Context, place: str) -> Context:
    """What the price depends on, with where the call was processed, unless the answer says that itself."""
    if any(name == "inference_geo" for name, _ in context):
        return context
    return tuple(sorted((*context, ("inference_geo", place))))


class Knobs:
    """The part of a `Flight` that `Call.knobs` is."""

    __slots__ = ()

    if TYPE_CHECKING:
        _change: Change | None
        _body: dict[str, Any]
        _route: Route
        call: Call

    @property
    def takes_ceiling(self) -> bool:
        return bool(self._names())

    @property
    def choices(self) -> int:
        for name in self._route.choices:
            count = self._body.get(name)
            if type(count) is int and count > 1:
                return count
        return 1

    @property
    def least(self) -> int:
        part: Any = self._body
        for name in self._route.before_answer:
            part = part.get(name) if isinstance(part, dict) else None
        return part if type(part) is int and part > 0 else 0

    def lower(self, tokens: int) -> bool:
        """Let each choice have at most so many output tokens."""
        names = self._names()
        return bool(names) and self._set(**dict.fromkeys(names, tokens))

    def change_model(self, model: str) -> bool:
        return type(self._body.get("model")) is str and self._set(model=model)

    def _set(self, **changes: Any) -> bool:
        return self._change is not None and self._change(**changes)

    def _names(self) -> tuple[str, ...]:
        """Those that the caller gave, else the one that this API takes; a ceiling given twice is lowered twice."""
        given = []
        for name in self._route.max_output:
            most = self._body.get(name)
            if type(most) is int and most > 0:
                given.append(name)
        if given:
            return tuple(given)
        sets = self._route.sets
        told = sets.get(self.call.provider) or sets.get("")
        return (told,) if told else ()
