"""Lengths of calendar time as people write them: `2y`, `6m`, `20d`, `1y6m`."""

from __future__ import annotations

import calendar
import datetime as dt
import re
from dataclasses import dataclass

_PART = re.compile(r"(\d+)([ymwd])")
_TEXT = re.compile(r"(?:\d+[ymwd])+")


@dataclass(frozen=True)
class Span:
    """Months and days; a year is twelve months."""

    months: int = 0
    days: int = 0

    def __str__(self) -> str:
        years, months = divmod(self.months, 12)
        parts = ((years, "y"), (months, "m"), (self.days, "d"))
        return "".join(f"{n}{unit}" for n, unit in parts if n) or "0d"

    def after(self, date: dt.date, times: int = 1) -> dt.date:
        """Return the date so many spans later, or earlier; the 31st of a short month is its last day."""
        month_ix = date.year * 12 + date.month - 1 + self.months * times
        year, month = divmod(month_ix, 12)
        day = min(date.day, calendar.monthrange(year, month + 1)[1])
        return dt.date(year, month + 1, day) + dt.timedelta(days=self.days * times)

    @property
    def positive(self) -> bool:
        return self.months > 0 or self.days > 0


def parse_span(value: object) -> Span:
    """Return the span of a text. Raises ValueError for anything else."""
    text = value.replace(" ", "") if isinstance(value, str) else ""
    if isinstance(value, Span):
        return value
    if not _TEXT.fullmatch(text):
        raise ValueError(f"found {value!r}, expected calendar time such as 2y, 6m, 3w or 20d")
    months = days = 0
    for number, unit in _PART.findall(text):
        months += int(number) * {"y": 12, "m": 1}.get(unit, 0)
        days += int(number) * {"w": 7, "d": 1}.get(unit, 0)
    if months > 12 * 200 or days > 200_000:
        raise ValueError(f"found {value!r}, which is longer than two hundred years")
    return Span(months, days)
