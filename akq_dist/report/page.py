"""The frame of a page and its parts. Whatever comes from outside is escaped here, or by Plotly."""

from __future__ import annotations

import math
from html import escape
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from akq_dist.report.charts import Figure

    Part = str | Sequence[Figure]
    """Markup made here, or figures that stand side by side where there is room."""

_STYLE = """
:root{--ink:#1c2430;--soft:#5d6876;--line:#dfe4ea;--paper:#fff;--blue:#2563a8;--red:#c2410c}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa5b3;--line:#2f3742;--paper:#14181d;--blue:#6aa9ec;
--red:#f08a4b}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1000px;margin:32px auto;
padding:0 20px}
h1{font-size:26px;margin:0 0 2px}h2{font-size:18px;margin:34px 0 8px;border-bottom:1px solid var(--line)}
p{margin:6px 0}.soft{color:var(--soft)}.note{border-left:3px solid var(--red);padding-left:10px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}
th,td{padding:3px 14px 3px 0;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
td.n,th.n{text-align:right}pre{background:color-mix(in srgb,var(--line) 40%,transparent);padding:10px;overflow-x:auto}
.two{display:grid;grid-template-columns:1fr 1fr}.two>div{min-width:0}
"""


def page(name: str, parts: Iterable[Part]) -> str:
    """Return a whole HTML document; its policy forbids a browser to fetch anything. The same parts, the same text."""
    policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
    ids = (f"figure-{number}" for number in count(1))
    body = [part if isinstance(part, str) else _figures(part, ids) for part in parts]
    drawn = next(ids) != "figure-1"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(name)}</title><style>{_STYLE}</style>{_library() if drawn else ''}</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _figures(held: Sequence[Figure], ids: Iterator[str]) -> str:
    from plotly.io import to_html

    config = {"displayModeBar": False, "responsive": True}
    drawn = (
        to_html(
            figure, full_html=False, include_plotlyjs=False, div_id=next(ids), config=config, validate=False
        )
        for figure in held
    )
    # A figure takes its width when it is drawn, so the columns must stand before.
    return f"<div{' class=two' if len(held) > 1 else ''}>{''.join(drawn)}</div>"


def _library() -> str:
    """Return what draws figures, about 5 MB."""
    from plotly.offline import get_plotlyjs

    return f"<script>{get_plotlyjs()}</script>"


def title(text: str) -> str:
    return f"<h1>{escape(text)}</h1>"


def heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str, kind: str = "") -> str:
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def preformatted(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table; a column of numbers is aligned right."""
    held = [list(line) for line in rows]
    numeric = [
        all(line[ix] is None or _is_number(line[ix]) for line in held)
        and any(line[ix] is not None for line in held)
        for ix in range(len(columns))
    ]
    head = "".join(f"<th{_class(n)}>{escape(name)}</th>" for name, n in zip(columns, numeric, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f"<td{_class(n)}>{escape(cell(v))}</td>" for v, n in zip(line, numeric, strict=True))
        + "</tr>"
        for line in held
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def cell(value: Any) -> str:
    """Short form of a value."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _class(numeric: bool) -> str:
    return ' class="n"' if numeric else ""
