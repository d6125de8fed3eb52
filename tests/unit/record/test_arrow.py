"""Columns made from buffers equal those that Arrow makes itself, without pandas."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from akq_dist.record.arrow import float_column, floats, int_column, text_column


@pytest.mark.parametrize(
    "values", [[], [None], ["a"], ["", None, "äöü", "x" * 300, None, "1", "2", "3", "4", None]]
)
def test_text(values: list[str | None]) -> None:
    column = text_column(values)
    column.validate(full=True)
    assert column.equals(pa.array(values, pa.string()))


def test_text_that_is_no_utf8_still_travels() -> None:
    assert text_column(["a\udc80b"]).to_pylist() == ["a?b"]


def test_numbers_there_and_back() -> None:
    matrix = np.array([[1.0, np.nan], [-0.0, np.inf], [3.0, 4.0]])
    column = pa.chunked_array([float_column(matrix[:2, 1]), float_column(matrix[2:, 1])])
    np.testing.assert_array_equal(floats(column), [np.nan, np.inf, 4.0])
    np.testing.assert_array_equal(floats(pa.chunked_array([pa.array([1.0, None])])), [1.0, np.nan])
    assert floats(pa.chunked_array([], pa.float64())).tolist() == []
    assert int_column(np.array([2**62, -1])).to_pylist() == [2**62, -1]


def test_a_worker_needs_no_pandas_scipy_optuna_or_mlflow() -> None:
    code = (
        "import sys, pyarrow as pa, numpy as np, akq_dist.record.worker, akq_dist.record.serial\n"
        "from akq_dist.record.arrow import *\n"
        "t = pa.table({'a': float_column(np.ones(2)), 'b': text_column(['x', None])})\n"
        "floats(t.column('a')); t.column('b').to_pylist()\n"
        "print([m for m in ('pandas', 'scipy', 'optuna', 'mlflow', 'ray', 'polars') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
