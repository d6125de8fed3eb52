"""The published JSON schema."""

from __future__ import annotations

import json

from akq_dist.specs.schema import SCHEMA_FILE, sweep_schema


def test_the_published_schema_is_current() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == sweep_schema(), "run python -m akq_dist.specs.schema"


def test_the_schema_refuses_unknown_keys_and_uses_the_names_of_files() -> None:
    schema = json.loads(sweep_schema())
    assert schema["additionalProperties"] is False
    assert "from" in schema["$defs"]["HoldoutSpec"]["properties"]
    assert "from" in schema["$defs"]["ProtectionSpec"]["properties"]
    assert set(schema["required"]) == {"name", "strategy", "data"}
