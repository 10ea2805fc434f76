"""YAML files that people edit: what is wrong in them is named."""

from pathlib import Path
from typing import Any

import yaml

from bpg.errors import BPGError

FILE_LIMIT = 2**20
"""Larger files are refused unread: people write kilobytes."""


class _Strict(yaml.SafeLoader):
    """YAML's safe loader lets a second key overwrite the first; here it is an error.

    So is an alias: nested ones make a few lines stand for billions.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(problem="aliases are not read", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    problem="a key must be a word", problem_mark=key.start_mark
                )
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file; BPGError names the file and the line of what is wrong, a double key too."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_LIMIT + 1)
        if len(data) > FILE_LIMIT:
            raise BPGError(f"{path}: larger than {FILE_LIMIT:,} bytes, so no parameter file")
        return yaml.load(data.decode(), _Strict)  # noqa: S506
    except OSError as error:
        raise BPGError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", "")
        raise BPGError(f"{path}:{place} not valid YAML: {problem}") from error
    except UnicodeDecodeError as error:
        raise BPGError(f"{path}: not UTF-8 text") from error
    except RecursionError as error:
        raise BPGError(f"{path}: nested too deeply") from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        # PyYAML's words for impossible dates, times and numbers.
        raise BPGError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
