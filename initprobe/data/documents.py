"""YAML text to values, and the place of each value; hostile text is refused. No other module imports the YAML library.

The language is YAML 1.2: `1e-3` is a number and `yes` is text. Keys are text, tags are refused, anchors are allowed.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from initprobe.data.files import check_file, reading
from initprobe.errors import ConfigError, InputError

# The parser takes half a second for a file of this size, and its values need a few megabytes.
MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_VALUES = 50_000
MAX_KEYS = 300
MAX_TEXT = 1000
MAX_INTEGER = 2**63 - 1

Loc = tuple[str | int, ...]
_TAG = "tag:yaml.org,2002:"
_READ_AS_VALUES = tuple(_TAG + kind for kind in ("int", "float", "bool", "null"))
_READ_AS_TEXT = tuple(_TAG + kind for kind in ("str", "timestamp", "merge", "value"))


@dataclass(frozen=True)
class Place:
    """Where a value was given.

    Attributes:
        file: the file as shown; or the option, as in `--set layers`; "" where the place is unknown.
        line: the line in the file, from 1; None for an option.
    """

    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Errors raised inside are said to be here.

        Raises:
            ConfigError: the error from inside, with this file and line.
        """
        try:
            yield
        except ConfigError as error:
            raise error.at(file=self.file, line=self.line) from None

    def error(self, text: str, field: str = "") -> ConfigError:
        """An error here.

        Args:
            text: what is wrong, and what to do.
            field: of the document; "" for none.
        """
        return ConfigError(text, field=field, file=self.file, line=self.line)


@dataclass(frozen=True)
class Document:
    """The content of a file.

    Attributes:
        file: its name, as shown.
        values: mappings, lists, text, numbers, booleans and None.
        places: the place of every value, by its location in `values`: the line of an entry or of its key.
    """

    file: str
    values: Any
    places: Mapping[Loc, Place]

    def known_part(self, loc: Loc) -> Loc:
        """`loc` without the parts that are no keys of the file, as pydantic adds them."""
        prefix: Loc = ()
        for part in loc:
            if (*prefix, part) in self.places:
                prefix = (*prefix, part)
        return prefix

    def place(self, loc: Loc) -> Place:
        """The place of the innermost value that contains `loc`."""
        return self.places.get(self.known_part(loc), Place(self.file))


def read_file(path: Path, most_bytes: int = MAX_BYTES, most_keys: int = MAX_KEYS) -> Document:
    """The document in a file.

    Args:
        path: of the file.
        most_bytes: a larger file is refused.
        most_keys: a mapping with more keys is refused.

    Raises:
        InputError: the file cannot be read, is too large or is not UTF-8.
        ConfigError: it is not a YAML mapping; file and line are named.
    """
    check_file(path)
    with reading(path), path.open("rb") as file:
        raw = file.read(most_bytes + 1)
    if len(raw) > most_bytes:
        hint = "; a grid says much in few words" if most_bytes == MAX_BYTES else ""
        raise InputError(f"is larger than {most_bytes // 1024} kB{hint}", file=path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("is not UTF-8 text", file=path, line=1 + raw[: error.start].count(10)) from None
    reader = _Reader(lambda line: Place(str(path), line), most_keys)
    document = Document(str(path), reader.read(text), reader.places)
    if not isinstance(document.values, dict):
        raise ConfigError("holds no mapping; begin with `version: 1`", file=path)
    return document


def parse(text: str, file: str, place: Callable[[int], Place]) -> Document:
    """The values in a YAML text.

    Args:
        text: the YAML.
        file: the name of the document.
        place: the place of a line, by its number.

    Raises:
        ConfigError: not YAML, or more than a file of experiments needs.
    """
    if len(text) > MAX_BYTES:
        raise place(1).error(f"more than {MAX_BYTES // 1024} kB")
    reader = _Reader(place)
    return Document(file, reader.read(text), reader.places)


def _loader() -> YAML:
    loader = YAML(typ="safe", pure=True)
    loader.max_depth = MAX_DEPTH
    loader.composer.warn_double_anchors = False
    return loader


@dataclass
class _Reader:
    """Turns the nodes of one text into values."""

    place: Callable[[int], Place]
    most_keys: int = MAX_KEYS
    places: dict[Loc, Place] = field(default_factory=dict)
    loader: YAML = field(default_factory=_loader)

    def read(self, text: str) -> Any:
        try:
            root = self.loader.compose(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            raise self.place(mark.line + 1 if mark else 1).error(_explained(error)) from None
        except YAMLError as error:
            raise self.place(1).error(f"is not YAML: {str(error).splitlines()[0]}") from None
        return None if root is None else self._value(root, (), root.start_mark.line)

    def _value(self, node: Node, loc: Loc, line: int) -> Any:
        # Values are counted as aliases are expanded: a few nested aliases can stand for billions of values.
        self.places[loc] = self.place(line + 1)
        if len(self.places) > MAX_VALUES or len(loc) > MAX_DEPTH:
            raise self._fault(node, f"more than {MAX_VALUES:,} values, or nested deeper than {MAX_DEPTH}")
        if isinstance(node, MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, SequenceNode):
            return self._sequence(node, loc)
        return self._scalar(node)

    def _mapping(self, node: MappingNode, loc: Loc) -> dict[str, Any]:
        self._expect_tag(node, "map")
        if len(node.value) > self.most_keys:  # for each unknown key the nearest known one is searched
            raise self._fault(node, f"more than {self.most_keys} keys in one mapping")
        if node.flow_style:
            self._refuse_split([entry for pair in node.value for entry in pair if entry.value != ""])
        values: dict[str, Any] = {}
        for key, value in node.value:
            name = self._key(key)
            if name in values:
                raise self._fault(key, f"duplicate key {reprlib.repr(name)}; drop one of the two")
            values[name] = self._value(value, (*loc, name), key.start_mark.line)
        return values

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
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise self._fault(node, f"{reprlib.repr(node.value)} is too large a number")
        return value

    def _expect_tag(self, node: Node, kind: str) -> None:
        if node.tag != _TAG + kind:
            raise self._fault(node, f"the tag {node.tag} is not allowed; write plain values")

    def _refuse_split(self, nodes: list[Node]) -> None:
        """Refuse `[normal:std=1,mean=2]`: YAML reads two texts where the user means one specification."""
        for before, after in pairwise(nodes):
            if _is_bare(before, ":") and _is_bare(after, "="):
                whole = f"{before.value},{after.value}"
                raise self._fault(after, f'the comma splits this in two; quote it: "{whole}"')

    def _fault(self, node: Node, text: str) -> ConfigError:
        return self.place(node.start_mark.line + 1).error(text)


def _is_bare(node: Node, sign: str) -> bool:
    """Whether a node is unquoted text with the sign in it; for `=`, without a `:`."""
    bare = isinstance(node, ScalarNode) and not node.style and sign in node.value
    return bare and (sign == ":" or ":" not in node.value)


def _explained(error: MarkedYAMLError) -> str:
    problem = error.problem or str(error).splitlines()[0]
    if "'\\t'" in problem:
        return "a tab; YAML is indented with spaces"
    if "another document" in problem:
        return "a second document; put each experiment into a file of its own"
    if "maximum depth" in problem:
        return f"nested deeper than {MAX_DEPTH}"
    return f"is not YAML: {problem}"
