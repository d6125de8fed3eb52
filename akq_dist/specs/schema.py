"""The JSON schema of sweep files, for editors and other tools."""

from __future__ import annotations

import json
from pathlib import Path

from akq_dist.specs.sweep import SweepSpec

SCHEMA_FILE = Path(__file__).with_name("sweep.schema.json")


def sweep_schema() -> str:
    """Return the schema as JSON text, the same for the same version."""
    schema = SweepSpec.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "AKQuant Dist sweep"
    return json.dumps(schema, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def write_schema() -> None:
    """Bring the published file up to date."""
    SCHEMA_FILE.write_text(sweep_schema(), encoding="utf-8")


if __name__ == "__main__":
    write_schema()
