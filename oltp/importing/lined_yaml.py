"""YAML whose mappings know their lines, so that an error can point at one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import yaml

from oltp.importing.errors import MappingError


class Lined(dict[Any, Any]):
    """A mapping with the line it begins on and the line of each key."""

    line: int
    at: dict[Any, int]


class _Loader(yaml.SafeLoader):
    """Only true and false are booleans: `on` is a key here, and NO a country."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, form) for tag, form in found if tag != "tag:yaml.org,2002:bool"]
    for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def _construct(loader: _Loader, node: yaml.MappingNode) -> Lined:
    found = Lined()
    found.line, found.at = node.start_mark.line + 1, {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if key in found:
            raise yaml.MarkedYAMLError(problem=f"{key} is there twice",
                                       problem_mark=key_node.start_mark)  # fmt: skip
        found[key] = loader.construct_object(value_node, deep=True)
        found.at[key] = line
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct)


class Section:
    """A mapping of the document that is read key by key; what nobody asked for is an error."""

    def __init__(self, file: str, path: str, values: Any) -> None:
        self.file, self.path = file, path
        if not isinstance(values, Lined):
            raise MappingError(f"{file}: {path or 'the document'} is not a mapping of keys")
        self.values, self._left = values, set(values)

    def take(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        """The value of a key; without a default it must be there."""
        self._left.discard(key)
        if key not in self.values:
            if default is ...:
                self.fail(f"{key} is missing")
            return default
        value = self.values[key]
        is_flag_for_number = isinstance(value, bool) and kind is int
        if not isinstance(value, kind) or is_flag_for_number:
            self.fail(f"{key} cannot be {value!r}", key)
        return value

    def section(self, key: str, required: bool = True) -> Section:
        """The section under a key; empty when it is not there and need not be."""
        empty = Lined()
        empty.line, empty.at = self.values.line, {}
        values = self.take(key, Lined, ... if required else empty)
        return Section(self.file, self._at(key), values)

    def sections(self) -> Mapping[str, Section]:
        """All keys' sections."""
        return {str(key): self.section(key) for key in self.values}

    def done(self) -> None:
        """Refuse keys that nobody took."""
        for key in sorted(self._left, key=str):
            self.fail(f"{key} is not known here", key)

    def fail(self, problem: str, key: Any = None) -> NoReturn:
        """Raise with file, line and path."""
        line = self.values.at.get(key, self.values.line)
        raise MappingError(f"{self.file}:{line}: {self.path or 'mapping'}: {problem}")

    def _at(self, key: Any) -> str:
        return f"{self.path}.{key}" if self.path else str(key)


def load(path: Path) -> tuple[Section, bytes]:
    """The document's top and its bytes."""
    try:
        text = path.read_bytes()
        # A subclass of SafeLoader: it builds plain values only.
        document = yaml.load(text.decode(), Loader=_Loader)  # noqa: S506
    except OSError as error:
        raise MappingError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise MappingError(f"{path} is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise MappingError(f"{path.name}:{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise MappingError(f"{path.name}: {error}") from None
    return Section(path.name, "", document), text
