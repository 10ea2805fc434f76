"""YAML files that people edit: what is wrong in them is named."""

from pathlib import Path
from typing import Any

import yaml

from bpg.errors import BPGError


class _UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader lets a second key overwrite the first; here it is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file; BPGError names the file and the line of what is wrong, a double key too."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # noqa: S506
    except OSError as error:
        raise BPGError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", "")
        raise BPGError(f"{path}:{place} not valid YAML: {problem}") from error
    except UnicodeDecodeError as error:
        raise BPGError(f"{path}: not UTF-8 text") from error
