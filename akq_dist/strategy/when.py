"""When a timer of a strategy is due: what `Strategy.schedule` takes."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from akq_dist.errors import AkqStrategyError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIME = re.compile(r"(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d)?|24:00(?::00)?")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

Edge = Literal["first", "last"]


@dataclass(frozen=True, slots=True)
class When:
    """Due times of a timer; made by one of its class methods.

    Local times are those of the market's time zone. A timer fires once for a due time, at the first step whose
    bars are not over before it, ahead of `on_bar`.
    """

    spec: str
    """What the engine reads."""

    @classmethod
    def every_day_at(cls, time: str | dt.time) -> When:
        """At a local time of every trading date, such as "14:55"."""
        return _made("every_day_at", _time("every_day_at", time))

    @classmethod
    def after_open(cls, minutes: int) -> When:
        """So many minutes after the first session of every trading date opens; needs the market's sessions."""
        return _made("after_open", {"minutes": _whole("after_open: minutes", minutes, 0)})

    @classmethod
    def before_close(cls, minutes: int) -> When:
        """So many minutes before the last session of every trading date closes; needs the market's sessions.

        The sessions know no early closes: on such a date the timer fires with the first step after its time.
        """
        return _made("before_close", {"minutes": _whole("before_close: minutes", minutes, 0)})

    @classmethod
    def at(cls, instant: dt.datetime | int) -> When:
        """Once, at a time with a time zone, or at nanoseconds since 1970 in UTC."""
        if isinstance(instant, dt.datetime):
            if instant.tzinfo is None:
                raise AkqStrategyError(f"at: {instant} has no time zone, so it is no instant")
            return _made("at", (instant - _EPOCH) // dt.timedelta(microseconds=1) * 1000)
        return _made("at", _whole("at", instant, -(2**63)))

    @classmethod
    def every(cls, minutes: int) -> When:
        """Every so many minutes from now on; due times that pass between two steps count as one."""
        return _made("every", {"minutes": _whole("every: minutes", minutes, 1)})

    @classmethod
    def every_bars(cls, n: int) -> When:
        """At every n-th step from now on."""
        return _made("every_bars", _whole("every_bars: n", n, 1))

    @classmethod
    def weekly(cls, on: Edge = "first", at: str | dt.time | None = None) -> When:
        """On the first or last trading date of every calendar week.

        The first one fires with its first step, or at a local time. That a date was the last one is known when the
        next week begins: the timer fires then, with the date that it was due on. The first date of a run counts as
        the first one of its week.
        """
        return _edge("weekly", on, at)

    @classmethod
    def monthly(cls, on: Edge = "first", at: str | dt.time | None = None) -> When:
        """On the first or last trading date of every calendar month, as `weekly`."""
        return _edge("monthly", on, at)


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer that fires."""

    name: str
    due: dt.datetime
    """When it was due, on the clock of the market (UTC where that is not known)."""
    date: dt.date
    """The trading date that it was due on."""


def _made(kind: str, value: Any) -> When:
    return When(json.dumps({kind: value}))


def _edge(kind: str, on: str, at: str | dt.time | None) -> When:
    if on not in ("first", "last"):
        raise AkqStrategyError(f"{kind}: on is {on!r}, it is 'first' or 'last'")
    time = None if at is None else _time(f"{kind}: at", at)
    fields: Mapping[str, str | None] = {"on": on, "at": time}
    return _made(kind, fields)


def _time(name: str, value: str | dt.time) -> str:
    text = value.strftime("%H:%M:%S") if isinstance(value, dt.time) else value
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise AkqStrategyError(f"{name}: {value!r} is no time of day such as '14:55'")
    return text


def _whole(name: str, value: int, least: int) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not least <= value < (2**63 if least < 0 else 2**32):
        least_text = "" if least < 0 else f" of at least {least}"
        raise AkqStrategyError(f"{name} is {value!r}, it has to be a whole number{least_text}")
    return value
