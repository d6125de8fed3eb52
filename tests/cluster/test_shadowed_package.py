"""A sweep started where a folder of the package's name lies, as in a checkout with the package installed elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_workers_use_the_package_of_the_driver(tmp_path: Path) -> None:
    shadow = tmp_path / "akq_dist"
    shadow.mkdir()
    (shadow / "__init__.py").write_text(
        "raise ImportError('the folder beside the sweep is not the package')\n"
    )
    # -P keeps the current folder off the driver's own path; Ray adds it to that of the workers.
    code = "import sys; from akq_dist.cli import main; sys.exit(main())"
    settings = ["search.trials=4", "run.executor=ray", "track.mlflow=null", "storage.optuna=null"]
    command = [
        sys.executable,
        "-P",
        "-c",
        code,
        "sweep",
        "run",
        str(ROOT / "sweeps" / "quickstart.yaml"),
        "--json",
    ]
    command += [part for setting in settings for part in ("--set", setting)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trials"]["complete"] == 4
