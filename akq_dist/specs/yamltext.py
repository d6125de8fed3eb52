"""YAML as sweep files use it: plain data, no surprises.

Follows YAML 1.2 where 1.1 surprises: only `true` and `false` are booleans (so `on: high` and the symbol ON
stay text), `1e-3` is a number, digits with a leading zero stay text, dates stay text until a field asks for
one. Underscores in numbers are allowed. A repeated key is an error.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from akq_dist.errors import AkqUsageError
from akq_dist.specs.base import Place, dotted

_MAX_NODES = 200_000
_MAX_DEPTH = 60

_NULL = re.compile(r"|~|null|Null|NULL")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9_]+")
_NOT_FINITE = re.compile(r"(?i)[-+]?\.inf|\.nan")


def read_yaml(text: str, label: str) -> tuple[Any, dict[Place, int]]:
    """Return plain data and the line of each place in it. Raises AkqUsageError with the line of a mistake."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark is not None else ""
        column = f" (column {mark.column + 1})" if mark is not None else ""
        context = f" {error.context}" if error.context else ""
        raise AkqUsageError(f"{label}{line}: {error.problem or 'not YAML'}{context}{column}") from None
    except yaml.YAMLError as error:
        raise AkqUsageError(f"{label}: not YAML: {str(error).splitlines()[0]}") from None
    except (RecursionError, ValueError):
        raise AkqUsageError(f"{label}: nested too deeply") from None
    if node is None:
        return None, {}
    reader = _Reader(label)
    return reader.value(node, (), 0), reader.lines


class _Reader:
    def __init__(self, label: str) -> None:
        self.label = label
        self.lines: dict[Place, int] = {}
        self.n_nodes = 0

    def value(self, node: yaml.Node, place: Place, depth: int) -> Any:
        # Counted with aliases expanded, so a file cannot blow up when it is written out again.
        self.n_nodes += 1
        if self.n_nodes > _MAX_NODES or depth > _MAX_DEPTH:
            raise self._error(node, "the file is too large or nested too deeply")
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            self._plain(node, "tag:yaml.org,2002:map")
            return self._mapping(node, place, depth)
        if isinstance(node, yaml.SequenceNode):
            self._plain(node, "tag:yaml.org,2002:seq")
            return [self.value(child, (*place, i), depth + 1) for i, child in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, place: Place, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(key_node, "a key must be plain text")
            key = str(key_node.value)
            if key == "<<":
                raise self._error(key_node, "merging with << is not supported; write the keys out")
            if key in made:
                first = self.lines[(*place, key)]
                raise self._error(key_node, f"{dotted((*place, key))} is given twice, first in line {first}")
            self.lines[(*place, key)] = key_node.start_mark.line + 1
            made[key] = self.value(value_node, (*place, key), depth + 1)
        return made

    def _scalar(self, node: yaml.Node) -> Any:
        text = str(node.value)
        if not isinstance(node, yaml.ScalarNode) or node.style is not None:
            self._plain(node, "tag:yaml.org,2002:str")
            return text
        if not node.tag.startswith("tag:yaml.org,2002:"):
            raise self._error(node, f"the tag {node.tag!r} is not supported")
        if _NULL.fullmatch(text):
            return None
        if _BOOL.fullmatch(text):
            return text.lower() == "true"
        if _NOT_FINITE.fullmatch(text):
            raise self._error(node, f"{text} is not a finite number")
        if len(text) > 400:
            return text
        if _INT.fullmatch(text):
            return int(text.replace("_", ""))
        if _FLOAT.fullmatch(text) and not _LEADING_ZERO.fullmatch(text):
            return float(text.replace("_", ""))
        return text

    def _plain(self, node: yaml.Node, tag: str) -> None:
        if node.tag != tag:
            raise self._error(node, f"the tag {node.tag!r} is not supported")

    def _error(self, node: yaml.Node, problem: str) -> AkqUsageError:
        return AkqUsageError(f"{self.label}:{node.start_mark.line + 1}: {problem}")
