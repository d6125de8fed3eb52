"""Strategy source as text: what travels, how it loads, and what is refused."""

from __future__ import annotations

import linecache
import pickle
import sys
import traceback
import types
from typing import TYPE_CHECKING, Any

import pytest

from akq_dist.errors import AkqStrategyError, AkqUsageError
from akq_dist.strategy import PythonSource, Strategy

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "from akq_dist.strategy import Param, Strategy\n"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    return write(
        tmp_path,
        {
            "strategies/sma.py": HEAD
            + "import numpy as np\nimport helpers\nfrom . import deep\nfrom lib.tools import twice\n"
            "class SmaCross(Strategy):\n    fast: int = Param(10)\n"
            "    value = helpers.ONE + twice(deep.TWO)\n"
            "    def late(self):\n        from lib import lazy\n        return lazy.NAME\n"
            "    def fail(self):\n        raise ValueError('boom')\n",
            "strategies/helpers.py": "ONE = 1\n",
            "strategies/deep.py": "TWO = 2\n",
            "strategies/unused.py": "raise RuntimeError('must not travel')\n",
            "lib/tools.py": "import math\nfrom .more import factor\ndef twice(x):\n    return factor * x\n",
            "lib/more.py": "factor = 2\n",
            "lib/lazy.py": "NAME = __name__\n",
        },
    )


def test_the_imported_modules_of_the_sweep_folder_travel(sweep: Path) -> None:
    source = PythonSource.from_reference("strategies/sma.py:SmaCross", sweep)
    assert [module.path for module in source.modules] == [
        "lib/lazy.py", "lib/more.py", "lib/tools.py", "strategies/deep.py", "strategies/helpers.py",
        "strategies/sma.py",
    ]  # fmt: skip
    assert pickle.loads(pickle.dumps(source)) == source
    assert pickle.loads(pickle.dumps(source)).digest == source.digest


def test_it_loads_under_a_hashed_name_and_pollutes_nothing(sweep: Path) -> None:
    source = PythonSource.from_reference("strategies/sma.py:SmaCross", sweep)
    before = list(sys.path)
    cls: Any = source.load()
    assert cls.value == 5
    assert cls().params == {"fast": 10}
    assert cls().late().endswith(".lib.lazy")
    assert cls.__module__.startswith("_akq_strategy_")
    assert sys.path == before
    assert not {"helpers", "lib", "lib.tools", "strategies"}.intersection(sys.modules)
    assert source.load() is cls
    assert PythonSource.from_class(cls) == source


def test_two_versions_live_side_by_side(sweep: Path) -> None:
    first = PythonSource.from_reference("strategies/sma.py:SmaCross", sweep)
    first.load()
    (sweep / "strategies/helpers.py").write_text("ONE = 100\n")
    second = PythonSource.from_reference("strategies/sma.py:SmaCross", sweep)
    assert first.digest != second.digest
    assert (first.load().value, second.load().value) == (5, 104)  # type: ignore[attr-defined]


def test_a_traceback_shows_the_line_of_the_shipped_text(sweep: Path) -> None:
    cls: Any = PythonSource.from_reference("strategies/sma.py:SmaCross", sweep).load()
    with pytest.raises(ValueError, match="boom") as caught:
        cls().fail()
    text = "".join(traceback.format_exception(caught.value))
    assert 'File "strategies/sma.py", line 13, in fail' in text
    assert "raise ValueError('boom')" in text


@pytest.mark.parametrize(
    ("reference", "kind", "message"),
    [
        (
            "strategies/smaa.py:SmaCross",
            AkqStrategyError,
            "'smaa.py' does not exist in strategies/, did you mean 'sma.py'?",
        ),
        ("strategies/sma.py:SmaCros", AkqStrategyError, "no class 'SmaCros', did you mean 'SmaCross'?"),
        ("strategies/sma.py", AkqUsageError, "not of the form"),
        ("strategies:SmaCross", AkqUsageError, "not of the form"),
        ("../outside.py:A", AkqStrategyError, "outside the sweep folder"),
        ("bad.py:A", AkqStrategyError, "bad.py line 2"),
        ("latin.py:A", AkqStrategyError, "not UTF-8"),
    ],
)
def test_a_reference_that_cannot_be_read_is_explained(
    sweep: Path, reference: str, kind: type[Exception], message: str
) -> None:
    folder = write(
        sweep / "inner",
        {"bad.py": "x = 1\nclass A(:\n", "strategies/sma.py": HEAD + "class SmaCross(Strategy): ..."},
    )
    (sweep / "outside.py").write_text("A = 1")
    (folder / "latin.py").write_bytes(b"# \xe9\n")
    with pytest.raises(kind) as caught:
        PythonSource.from_reference(reference, folder)
    assert message in str(caught.value)


def test_what_is_not_a_strategy_or_fails_to_import_is_explained(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "plain.py": "class A: ...\n",
            "broken.py": HEAD + "import surely_not_installed_here\nclass A(Strategy): ...\n",
            "leaves.py": "import sys\nsys.exit(3)\nclass A: ...\n",
        },
    )
    with pytest.raises(AkqStrategyError, match=r"plain.py:A is not a strategy"):
        PythonSource.from_reference("plain.py:A", tmp_path).load()
    with pytest.raises(AkqStrategyError, match=r"broken.py line 2: ModuleNotFoundError: No module named"):
        PythonSource.from_reference("broken.py:A", tmp_path).load()
    with pytest.raises(AkqStrategyError, match=r"leaves.py line 2: SystemExit: 3"):
        PythonSource.from_reference("leaves.py:A", tmp_path).load()


def test_a_module_of_the_standard_library_is_not_hidden_by_an_inner_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "s.py": HEAD + "from lib import a\nclass A(Strategy):\n    n = a.N\n",
            "lib/a.py": "import random\nimport beside\nN = (random.Random(1).random() < 1, beside.B)\n",
            "lib/random.py": "raise RuntimeError('not this one')\n",
            "lib/beside.py": "B = 2\n",
        },
    )
    source = PythonSource.from_reference("s.py:A", tmp_path)
    assert source.load().n == (True, 2)  # type: ignore[attr-defined]


CELL_1 = "import math as m\nfrom collections import OrderedDict\nSCALE = {'a': [1, 2.5], 'b': (None, True)}\n"
CELL_2 = "def helper(x):\n    return m.sqrt(x) * SCALE['a'][1]\n"
CELL_3 = """
class Mine(Strategy):
    n: int = Param(4)
    kept = OrderedDict(a=1)

    def on_bar(self, bar: Bar) -> None:
        frame = self.n
        self.got = helper(frame)
"""
CELL_BAD = """
class Bad(Strategy):
    def on_bar(self, bar):
        return frame.head()
"""


def notebook(monkeypatch: pytest.MonkeyPatch, *cells: str) -> dict[str, Any]:
    """Run cells as a notebook does: in `__main__`, with their text known to linecache only."""
    main = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    exec(HEAD, main.__dict__)
    for number, text in enumerate(cells):
        name = f"<cell-{id(main)}-{number}>"
        # linecache ignores names in angle brackets unless they are cached, as notebooks do.
        linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
        exec(compile(text, name, "exec"), main.__dict__)
    return main.__dict__


def test_a_class_of_a_notebook_travels_with_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    names = notebook(
        monkeypatch, CELL_1, CELL_2, "frame = object()\n", "from __future__ import annotations\n" + CELL_3
    )
    source = PythonSource.from_class(names["Mine"])
    cls: Any = source.load()
    made = cls()
    made.on_bar(None)
    assert made.got == 5.0
    assert issubclass(cls, Strategy)
    assert cls is not names["Mine"]


def test_a_notebook_object_that_is_not_text_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    names = notebook(monkeypatch, "frame = object()\n", CELL_BAD)
    with pytest.raises(AkqStrategyError, match="uses the name 'frame', which is a object and cannot travel"):
        PythonSource.from_class(names["Bad"])


def test_a_class_inside_a_function_is_refused() -> None:
    class Local(Strategy): ...

    with pytest.raises(AkqStrategyError, match="move it to the top"):
        PythonSource.from_class(Local)


class TopLevel(Strategy):
    def answer(self) -> int:
        return 42


def test_a_class_of_an_imported_file_travels_with_its_module() -> None:
    source = PythonSource.from_class(TopLevel)
    cls: Any = source.load()
    assert cls().answer() == 42
    assert cls is not TopLevel
