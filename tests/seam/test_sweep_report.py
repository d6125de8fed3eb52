"""The page of a study: complete without a network, honest about what is missing."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from akq_dist.errors import AkqStudyError
from akq_dist.sweep import Sweep, report_study, sweep

from .test_sweep_end_to_end import SPEC

if TYPE_CHECKING:
    from pathlib import Path


class Outside(HTMLParser):
    """Collects what a browser would fetch, and the text of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.words: list[str] = []
        self._is_text = True
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_text = tag not in ("script", "style")
        if tag in ("link", "iframe", "img", "object", "embed", "base"):
            self.found.append(tag)
        self.found += [
            f"{tag}.{name}" for name, _ in attrs if name in ("src", "href", "xlink:href") or name[:2] == "on"
        ]

    def handle_data(self, data: str) -> None:
        if self._is_text:
            self.words.append(data)


def made(folder: Path, **sections: Any) -> Sweep:
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**SPEC, **sections}))
    return sweep("sweep.yaml")


def text_of(html: str) -> str:
    page = Outside(html)
    assert page.found == []
    assert "default-src 'none'" in html
    return " ".join(page.words)


def test_a_page_shows_the_winner_its_doubts_and_where_it_comes_from(folder: Path) -> None:
    handle = made(folder).run()
    report = handle.report()
    text = text_of(report.html)
    best = handle.best
    assert best is not None
    assert f"Best: trial {best.number} with sharpe.median = {best.values[0]:.6g}" in text
    assert f"It is the best of {handle.results()['value'].is_not_null().sum()}" in text
    assert f"Equity of trial {best.number}" in text
    assert handle.summary()["result_hash"] in text
    assert report.html.count('class="plotly-graph-div"') == 6
    path = report.save("out/page.html")
    assert path.read_text(encoding="utf-8") == report.html
    assert [entry.name for entry in path.parent.iterdir()] == ["page.html"]
    assert "<iframe srcdoc=" in report._repr_html_()
    handle.close()
    assert report_study("cross").html == report.html


def test_a_page_of_a_validated_study_shows_its_folds(folder: Path) -> None:
    handle = made(
        folder,
        search={**SPEC["search"], "trials": 6},
        validate={"scheme": "walk_forward", "train": "2m", "test": "1m"},
    ).run()
    text = text_of(handle.report().html)
    assert "Out of sample" in text
    assert "Mean test value over mean train value" in text or handle.validation().efficiency is None
    handle.close()


def test_failures_several_objectives_and_names_that_are_markup(folder: Path) -> None:
    handle = made(
        folder,
        name="two",
        strategy={"python": "hold.py:Hold"},
        space={"days": {"int": [3, 9]}, "kind": {"choice": ["<b>a</b>", "b"]}},
        where=[],
        objective=[{"metric": "sharpe"}, {"metric": "max_drawdown"}],
        search={"sampler": "grid"},
        run={"executor": "serial", "max_failures": "100%"},
    ).run()
    report = handle.report()
    text = text_of(report.html)
    assert "ValueError: seven" in text
    assert f"{len(handle.pareto)} trials are not dominated" in text
    assert "<b>a" not in report.html
    handle.close()


def test_an_unfinished_study_and_missing_data_are_told(folder: Path) -> None:
    made(folder, search={**SPEC["search"], "trials": 5}).run().close()
    more = ["search.trials=40", "search.timeout=0.000001"]
    handle = sweep("sweep.yaml", overrides=more).run()
    assert handle.state == "timeout"
    assert "The study is not finished: 5 of 40 trials have ended" in text_of(handle.report().html)
    handle.close()
    (folder / "bars.parquet").rename(folder / "gone.parquet")
    text = text_of(report_study("cross").html)
    assert "Nothing could be run again for this page" in text
    assert "bars.parquet" in text
    with pytest.raises(AkqStudyError, match="no study 'crows', did you mean 'cross'"):
        report_study("crows")


def test_a_page_that_cannot_be_written_is_a_named_error(folder: Path) -> None:
    handle = made(folder, search={**SPEC["search"], "trials": 2}).run()
    (folder / "file").touch()
    with pytest.raises(AkqStudyError, match=r"cannot be written: .* \(its folder|bytes free"):
        handle.report().save(folder / "file" / "page.html")
    handle.close()
