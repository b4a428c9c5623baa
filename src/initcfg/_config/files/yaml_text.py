"""YAML, read alike with and without libyaml: only the first step, from characters to events, is libyaml's."""

from __future__ import annotations

import functools
import re
from typing import Any

from initcfg._config.files.nesting import MOST_DEEP, MOST_VALUES, too_deep
from initcfg.errors import ConfigError

# PyYAML reads 1e-3 as a string, since YAML 1.1 wants a dot and a sign; YAML 1.2 does not.
_FLOAT = re.compile(
    r"^[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
    r"|[0-9][0-9_]*[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$"
)
_TIGHT_COMMENT = re.compile(r"[|>][-+0-9]{0,2}#")
_MERGE = "tag:yaml.org,2002:merge"
# A number in base 60 takes a time that grows with the square of its length, and any other is Python's limit.
_LONGEST_NUMBER = 4300
# Numbers beyond have the hash of a smaller one: a dict of many that share one takes forever.
_LARGEST_KEY = 2**60


def add_float_resolver(handler: Any) -> None:
    """Let a PyYAML loader or dumper class know that 1e-3 is a number."""
    handler.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def load_yaml(text: str) -> Any:
    """The plain data that a text says; raises what PyYAML raises, and ConfigError."""
    loader = _loader()(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


@functools.lru_cache(maxsize=64)
def compose_yaml(text: str) -> Any:
    """The nodes of a text, which know their lines."""
    loader = _loader()(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _loader() -> Any:
    import yaml

    return _loader_on(getattr(yaml, "CSafeLoader", None))


@functools.lru_cache(maxsize=2)
def _loader_on(c_loader: Any) -> Any:
    """PyYAML's safe loader, on libyaml's parser if there is one.

    It refuses a key that occurs twice, and what would take more time or memory than the text explains.
    """
    import yaml
    from yaml import composer

    pure: Any = yaml.SafeLoader
    # libyaml's own composer would recurse without a limit, and has one of its own on the way to it.
    bases = (_Tabs, pure) if c_loader is None else (composer.Composer, c_loader)

    class Loader(*bases):  # type: ignore[misc]
        def __init__(self, text: str) -> None:
            (c_loader or pure).__init__(self, text)
            composer.Composer.__init__(self)
            self.text, self.depth, self.merged = text, 0, 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            self.depth += 1
            if self.depth > MOST_DEEP + 1:
                raise too_deep(None)
            _check_event(self.peek_event(), self.text)
            try:
                return super().compose_node(parent, index)
            finally:
                self.depth -= 1

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            if isinstance(node, yaml.MappingNode):
                _check_keys(node)
                self.flatten_mapping(node)
            return yaml.constructor.BaseConstructor.construct_mapping(self, node, deep=deep)

        def flatten_mapping(self, node: Any) -> None:
            self.merged += _flattened(node)
            if self.merged > MOST_VALUES:
                raise ConfigError(f"The merge keys of this YAML stand for more than {MOST_VALUES:,} values.")

        def construct_number(self, node: Any) -> Any:
            if len(node.value) > _LONGEST_NUMBER:
                raise yaml.constructor.ConstructorError(
                    None, None, f"a number has more than {_LONGEST_NUMBER} digits", node.start_mark
                )
            kind = node.tag.rpartition(":")[2]
            return getattr(self, f"construct_yaml_{kind}")(node)

    add_float_resolver(Loader)
    for kind in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", Loader.construct_number)
    return Loader


class _Tabs:
    """PyYAML's own scanner takes no tab between what it reads; libyaml does, as the format allows."""

    # Methods and attributes of PyYAML's scanner, which this is mixed into.
    peek: Any
    forward: Any
    column: Any
    flow_level: Any
    allow_simple_key: Any

    def scan_to_next_token(self) -> None:
        super().scan_to_next_token()  # type: ignore[misc]
        while self.peek() == "\t" and (self.flow_level or not self.allow_simple_key):
            self.forward()
            super().scan_to_next_token()  # type: ignore[misc]

    def scan_plain_spaces(self, indent: int, start_mark: Any) -> Any:
        blanks = ""
        while self.peek() in " \t":
            blanks += self.peek()
            self.forward()
        breaks = super().scan_plain_spaces(indent, start_mark)  # type: ignore[misc]
        while breaks and self.peek() in " \t" and self.column >= indent:
            self.forward()
        return breaks or ([blanks] if blanks else [])


def _check_event(event: Any, text: str) -> None:
    """Refuse what the two parsers read in different ways."""
    from yaml.composer import ComposerError

    if getattr(event, "tag", None) == "!":
        raise ComposerError(None, None, "the tag '!' means nothing", event.start_mark)
    if getattr(event, "style", None) in ("|", ">") and _TIGHT_COMMENT.match(text, event.start_mark.index):
        raise ComposerError(None, None, "a comment needs a space before it", event.start_mark)
    if any("\ud800" <= char <= "\udfff" for char in getattr(event, "value", None) or ""):
        raise ComposerError(None, None, "half a character is no text", event.start_mark)


def _check_keys(node: Any) -> None:
    """Refuse keys that occur twice, and numbers that are too large for a key."""
    import yaml

    if getattr(node, "checked", False):
        # A node that is used again through an alias has its merged keys in place by then.
        return
    seen = set()
    for key, _ in node.value:
        if key.tag == _MERGE or not isinstance(key, yaml.ScalarNode):
            continue
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key.value!r} occurs twice", key.start_mark
            )
        seen.add(key.value)
        if key.tag.endswith(":int") and len(key.value) > len(str(_LARGEST_KEY)) - 1:
            raise yaml.constructor.ConstructorError(
                None, None, f"the number {key.value[:20]}... is too large for a key", key.start_mark
            )
    node.checked = True


def _flattened(node: Any) -> int:
    """Put what ``<<`` merges in its place, once for each key; how many pairs that were.

    The mapping's own keys win, then those of earlier mappings. A merged mapping is flattened first.
    """
    import yaml

    if hasattr(node, "flat"):
        if not node.flat:
            raise yaml.constructor.ConstructorError(None, None, "a mapping merges itself", node.start_mark)
        return 0
    node.flat = False
    own, merged, taken, count = [], [], set(), 0
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:value":
            key.tag = "tag:yaml.org,2002:str"
        if key.tag != _MERGE:
            own.append((key, value))
            continue
        for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if not isinstance(source, yaml.MappingNode):
                raise yaml.constructor.ConstructorError(
                    None, None, f"'<<' merges mappings, and this is a {source.id}", source.start_mark
                )
            count += _flattened(source) + len(source.value)
            for pair in source.value:
                key = pair[0]
                same = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)
                if same not in taken:
                    taken.add(same)
                    merged.append(pair)
    node.value, node.flat = merged + own, True
    return count
