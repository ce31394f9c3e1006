"""Results as documents: JSON, or YAML that reads the same."""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = ["FORMATS", "as_json", "as_yaml"]

FORMATS: Final = ("text", "json", "yaml")

# A plain word that begins so may be a number to one reader and a string to another, such as 67159485e7402102.
_NUMBER_STARTS: Final = tuple("+-.0123456789")


def as_json(value: Any, *, one_line: bool = False) -> str:
    """Indented, unless it is one of many."""
    return json.dumps(value, indent=None if one_line else 2, ensure_ascii=False)


def as_yaml(value: Any) -> str:
    """Without aliases, keys in their order; ends without a newline."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = '"' if value.startswith(_NUMBER_STARTS) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return str(yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True)).removesuffix("\n").removesuffix("\n...")
