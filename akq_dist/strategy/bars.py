"""The cross-section of bars at one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from akq_dist._core import Bar, StrategyContext


class Bars:
    """All assets that have a bar now: `for bar in bars`, `bars["AAPL"]`, `"AAPL" in bars`.

    The object is reused from step to step and always shows the current one.
    """

    __slots__ = ("_assets", "_ctx", "_resolve")

    def __init__(self, ctx: StrategyContext, assets: Sequence[int], resolve: Callable[[str], int]) -> None:
        self._ctx = ctx
        self._assets = assets
        self._resolve = resolve

    def __iter__(self) -> Iterator[Bar]:
        """Bars in panel order."""
        bar_of = self._ctx.bar
        for asset in self._assets:
            bar = bar_of(asset)
            if bar is not None:
                yield bar

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, symbol: str) -> Bar:
        bar = self._ctx.bar(self._resolve(symbol))
        if bar is None:
            raise KeyError(f"{symbol} has no bar at this step")
        return bar

    def __contains__(self, symbol: object) -> bool:
        return isinstance(symbol, str) and any(bar.symbol == symbol for bar in self)

    def get(self, symbol: str) -> Bar | None:
        """Return the bar of a symbol, or None where it has none now."""
        return self._ctx.bar(self._resolve(symbol))

    @property
    def symbols(self) -> list[str]:
        """Symbols that have a bar now, in panel order."""
        return [bar.symbol for bar in self]
