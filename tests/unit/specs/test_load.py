"""Sweep files: YAML and TOML, overrides, environment variables, the place of a mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from akq_dist.errors import AkqUsageError
from akq_dist.specs import load_sweep

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
name: demo
strategy:
  rules:
    enter: cross_above(close, sma(close, n))
    trailing: {pct: 1e-1, on: high}
data: {path: "${DATA}/bars.parquet", symbols: [ON, NO, 000651, 600000], start: 2013-02-08}
market: {cash: 1_000_000}
space:
  n: {int: [2, 60]}
search:
  trials: 10
"""
ENVIRONMENT = {"DATA": "/data", "SECRET": "hunter2"}


def _write(folder: Path, text: str, name: str = "demo.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_a_file_is_read_with_its_environment(tmp_path: Path) -> None:
    loaded = load_sweep(_write(tmp_path, TEXT), environment=ENVIRONMENT)
    assert loaded.spec.data.path == "/data/bars.parquet"
    assert type(loaded.spec.data.path) is str
    assert loaded.spec.data.symbols == ("ON", "NO", "000651", "600000")
    assert loaded.spec.market.cash == 1e6
    assert loaded.spec.strategy.rules is not None
    assert loaded.spec.strategy.rules.trailing is not None
    assert loaded.spec.strategy.rules.trailing.on == "high"
    assert (loaded.base_dir, loaded.variables) == (tmp_path, ("DATA",))


def test_toml_says_the_same(tmp_path: Path) -> None:
    text = """
name = "demo"
[strategy.rules]
enter = "cross_above(close, sma(close, n))"
trailing = {pct = 1e-1, on = "high"}
[data]
path = "${DATA}/bars.parquet"
symbols = ["ON", "NO", "000651", 600000]
start = 2013-02-08
[space]
n = {int = [2, 60]}
[search]
trials = 10
"""
    yaml = load_sweep(_write(tmp_path, TEXT), environment=ENVIRONMENT)
    toml = load_sweep(_write(tmp_path, text, "demo.toml"), environment=ENVIRONMENT)
    assert toml.spec == yaml.spec
    assert toml.spec.content_hash() == yaml.spec.content_hash()


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    file = _write(tmp_path, TEXT)
    loaded = load_sweep(
        file, ["search.trials=20", "run.workers=2", "track.mlflow=null", "data.symbols=[A, B]"], ENVIRONMENT
    )
    assert (loaded.spec.search.trials, loaded.spec.run.workers) == (20, 2)
    assert loaded.spec.track.mlflow is None
    assert loaded.spec.data.symbols == ("A", "B")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.trails=5", "--set search.trails: unknown key, did you mean 'trials'?"),
        ("search.trials", "--set 'search.trials': expected name=value"),
        ("=5", "expected name=value"),
        ("name.x=5", "--set name.x: name is 'demo', not a mapping"),
        ("space.n=[60, 2]", "--set space.n: found the bare list [60, 2]: write {int: [2, 60]}"),
        ("search.trials=[1", "--set search.trials"),
    ],
)
def test_a_bad_override_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(AkqUsageError) as caught:
        load_sweep(_write(tmp_path, TEXT), [override], ENVIRONMENT)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trials: 10", "trails: 10", "demo.yaml:11: search.trails: unknown key, did you mean 'trials'?"),
        ("[2, 60]", "[60, 2]", "demo.yaml:9: space.n: low 60 is above high 2"),
        (
            "trials: 10",
            "trials: 10\n  trials: 11",
            "demo.yaml:12: search.trials is given twice, first in line 11",
        ),
        ("name: demo", "name: demo\nname: two", "demo.yaml:2: name is given twice, first in line 1"),
        ("[2, 60]", "[2, 60", "demo.yaml:9: expected"),
        ("trials: 10", "\ttrials: 10", "demo.yaml:11"),
        ("trials: 10", "trials: !!python/object/apply:os.system [x]", "demo.yaml:11: the tag"),
        ("trials: 10", "trials: !!int 10", None),
        ("trials: 10", "trials: .inf", "demo.yaml:11: .inf is not a finite number"),
        ("trials: 10", "<<: {trials: 5}", "demo.yaml:11: merging with << is not supported"),
        ("${DATA}", "${DATE}", "demo.yaml:6: data.path: the environment variable DATE is not set"),
        ("${DATA}", "${DA TA}", "does not name an environment variable"),
        ("name: demo", "", "demo.yaml: name: is required, but missing"),
    ],
)
def test_a_mistake_has_its_line(tmp_path: Path, old: str, new: str, message: str | None) -> None:
    file = _write(tmp_path, TEXT.replace(old, new))
    if message is None:
        assert load_sweep(file, environment=ENVIRONMENT).spec.search.trials == 10
        return
    with pytest.raises(AkqUsageError) as caught:
        load_sweep(file, environment=ENVIRONMENT)
    assert message in str(caught.value)


def test_a_secret_of_the_environment_is_never_shown(tmp_path: Path) -> None:
    file = _write(tmp_path, TEXT.replace("trials: 10", "trials: ${SECRET}\n  sampler: {a: '${SECRET}'}"))
    with pytest.raises(AkqUsageError) as caught:
        load_sweep(file, environment=ENVIRONMENT)
    assert "hunter2" not in str(caught.value)
    assert "the value of ${SECRET}" in str(caught.value)


def test_a_dollar_sign_can_be_written(tmp_path: Path) -> None:
    file = _write(tmp_path, TEXT.replace("${DATA}/", "$${DATA}/"))
    assert load_sweep(file, environment={}).spec.data.path == "${DATA}/bars.parquet"


def test_a_number_may_come_from_the_environment(tmp_path: Path) -> None:
    file = _write(tmp_path, TEXT.replace("trials: 10", "trials: ${N}"))
    assert load_sweep(file, environment={**ENVIRONMENT, "N": "12"}).spec.search.trials == 12


def test_text_of_the_environment_is_plain_text_in_the_specification(tmp_path: Path) -> None:
    text = TEXT.replace(
        "trials: 10", "trials: 10\n  sampler_options: {url: '${SECRET}', deep: ['${SECRET}']}"
    )
    options = load_sweep(_write(tmp_path, text), environment=ENVIRONMENT).spec.search.sampler_options
    assert type(options["url"]) is str
    assert type(options["deep"][0]) is str


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, TEXT, "sma.yaml")
    with pytest.raises(AkqUsageError, match=r"no such file, did you mean 'sma.yaml'"):
        load_sweep(tmp_path / "sna.yaml")
    with pytest.raises(AkqUsageError, match="is a folder"):
        load_sweep(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(AkqUsageError, match="not UTF-8"):
        load_sweep(tmp_path / "latin.yaml")
    for name, text in (
        ("empty.yaml", ""),
        ("list.yaml", "[1, 2]"),
        ("bad.toml", "a = "),
        ("nul.yaml", "a: \0"),
    ):
        with pytest.raises(AkqUsageError, match=name):
            load_sweep(_write(tmp_path, text, name))


def test_a_file_that_expands_without_end_is_refused(tmp_path: Path) -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    with pytest.raises(AkqUsageError, match="too large or nested too deeply"):
        load_sweep(_write(tmp_path, "\n".join(layers)))
    with pytest.raises(AkqUsageError, match="deeply"):
        load_sweep(_write(tmp_path, "[" * 3000))


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert load_sweep(file, environment=ENVIRONMENT).spec.name == "demo"
