"""YAML text to values, and the place of each of them; hostile text is refused. The YAML library is used here alone.

YAML 1.2: `1e-3` is a number and `yes` is a word. Keys are text, tags are refused, anchors may be used.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from initprobe.data.files import check_file, reading
from initprobe.errors import ConfigError, InputError

# A file this large takes the parser half a second, and its values fit in a few megabytes.
MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_VALUES = 50_000
MAX_KEYS = 300
MAX_TEXT = 1000
MAX_WHOLE = 2**63 - 1

Loc = tuple[str | int, ...]
_TAG = "tag:yaml.org,2002:"
_READ_AS_VALUES = tuple(_TAG + kind for kind in ("int", "float", "bool", "null"))
_READ_AS_TEXT = tuple(_TAG + kind for kind in ("str", "timestamp", "merge", "value"))


@dataclass(frozen=True)
class Document:
    """What a file holds.

    Attributes:
        file: its name, as shown.
        values: mappings, lists, text, numbers, booleans and None.
        places: the place of every value, as shown: file and line of an entry or of its key.
        lines: the line of every value that stands in the file.
    """

    file: str
    values: Any
    places: Mapping[Loc, str]
    lines: Mapping[Loc, int] = field(default_factory=dict)

    def way(self, loc: Loc) -> Loc:
        """`loc` without the parts that no value has."""
        way: Loc = ()
        for part in loc:
            if (*way, part) in self.places:
                way = (*way, part)
        return way

    def place(self, loc: Loc) -> str:
        """The place of the innermost value on the way to `loc`."""
        return self.places.get(self.way(loc), self.file)

    def line(self, loc: Loc) -> int | None:
        """The line of that value; None where an option gave it."""
        return self.lines.get(self.way(loc))


def read_file(path: Path) -> Document:
    """The document in a file.

    Raises:
        InputError: the file cannot be read, is too large or is not UTF-8.
        ConfigError: it is not a YAML mapping; file and line are named.
    """
    check_file(path)
    with reading(path), path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise InputError(f"{path} is larger than {MAX_BYTES // 1024} kB; a grid says much in few words")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}:{1 + raw[: error.start].count(10)}: is not UTF-8 text") from None
    document = parse(text, str(path), lambda line: f"{path}:{line}")
    if not isinstance(document.values, dict):
        raise ConfigError(f"{path}: holds no mapping; begin with `version: 1`")
    return document


def parse(text: str, file: str, place: Callable[[int], str]) -> Document:
    """The values in a YAML text; `place` says how a line number is shown.

    Raises:
        ConfigError: not YAML, or more than a file of experiments needs.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{place(1)}: more than {MAX_BYTES // 1024} kB")
    reader = _Reader(place)
    return Document(file, reader.read(text), reader.places, reader.lines)


def _loader() -> YAML:
    loader = YAML(typ="safe", pure=True)
    loader.max_depth = MAX_DEPTH
    loader.composer.warn_double_anchors = False
    return loader


@dataclass
class _Reader:
    """Walks the nodes of one text."""

    place: Callable[[int], str]
    places: dict[Loc, str] = field(default_factory=dict)
    lines: dict[Loc, int] = field(default_factory=dict)
    loader: YAML = field(default_factory=_loader)

    def read(self, text: str) -> Any:
        try:
            root = self.loader.compose(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise ConfigError(f"{self.place(mark.line + 1 if mark else 1)}: {_in_words(error)}") from None
        except YAMLError as error:
            raise ConfigError(f"{self.place(1)}: not YAML: {str(error).splitlines()[0]}") from None
        return None if root is None else self._value(root, (), root.start_mark.line)

    def _value(self, node: Node, loc: Loc, line: int) -> Any:
        # Counted as they are expanded: a few nested aliases can stand for billions of values.
        self.places[loc], self.lines[loc] = self.place(line + 1), line + 1
        if len(self.places) > MAX_VALUES or len(loc) > MAX_DEPTH:
            raise self._fault(node, f"more than {MAX_VALUES:,} values, or nested deeper than {MAX_DEPTH}")
        if isinstance(node, MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, SequenceNode):
            return self._sequence(node, loc)
        return self._scalar(node)

    def _mapping(self, node: MappingNode, loc: Loc) -> dict[str, Any]:
        self._expect_tag(node, "map")
        if len(node.value) > MAX_KEYS:  # each unknown one is looked up among those that there are
            raise self._fault(node, f"more than {MAX_KEYS} keys in one mapping")
        if node.flow_style:
            self._refuse_split([entry for pair in node.value for entry in pair if entry.value != ""])
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = self._key(key)
            if name in found:
                raise self._fault(key, f"duplicate key {reprlib.repr(name)}")
            found[name] = self._value(value, (*loc, name), key.start_mark.line)
        return found

    def _sequence(self, node: SequenceNode, loc: Loc) -> list[Any]:
        self._expect_tag(node, "seq")
        if node.flow_style:
            self._refuse_split(node.value)
        return [self._value(item, (*loc, index), item.start_mark.line) for index, item in enumerate(node.value)]

    def _key(self, node: Node) -> str:
        if isinstance(node, ScalarNode) and node.tag in (*_READ_AS_TEXT, *_READ_AS_VALUES):
            return str(node.value)
        raise self._fault(node, "a key must be plain text")

    def _scalar(self, node: Node) -> Any:
        if len(node.value) > MAX_TEXT:
            raise self._fault(node, f"a text of more than {MAX_TEXT} characters")
        if node.tag in _READ_AS_TEXT:
            return node.value
        if node.tag not in _READ_AS_VALUES:
            raise self._fault(node, f"the tag {node.tag} is not allowed; write plain values")
        try:
            value = self.loader.constructor.construct_object(node)
        except (ValueError, OverflowError, KeyError):
            raise self._fault(node, f"{node.value!r} is not a number") from None
        if isinstance(value, int) and abs(value) > MAX_WHOLE:
            raise self._fault(node, f"{reprlib.repr(node.value)} is too large a number")
        return value

    def _expect_tag(self, node: Node, kind: str) -> None:
        if node.tag != _TAG + kind:
            raise self._fault(node, f"the tag {node.tag} is not allowed; write plain values")

    def _refuse_split(self, nodes: list[Node]) -> None:
        """`[normal:std=1,mean=2]` is two texts to YAML, and one specification to whoever wrote it."""
        for before, after in pairwise(nodes):
            if _is_bare(before, ":") and _is_bare(after, "="):
                whole = f"{before.value},{after.value}"
                raise self._fault(after, f'the comma splits this in two; quote it: "{whole}"')

    def _fault(self, node: Node, text: str) -> ConfigError:
        return ConfigError(f"{self.place(node.start_mark.line + 1)}: {text}")


def _is_bare(node: Node, sign: str) -> bool:
    """Unquoted text with a `name:` or a `key=` in it, but not both for the latter."""
    bare = isinstance(node, ScalarNode) and not node.style and sign in node.value
    return bare and (sign == ":" or ":" not in node.value)


def _in_words(error: MarkedYAMLError) -> str:
    problem = error.problem or str(error).splitlines()[0]
    if "'\\t'" in problem:
        return "a tab; YAML is indented with spaces"
    if "another document" in problem:
        return "a second document; put each experiment into a file of its own"
    if "maximum depth" in problem:
        return f"nested deeper than {MAX_DEPTH}"
    return f"not YAML: {problem}"
