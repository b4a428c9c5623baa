"""Pickles read as data: a machine that knows the format and cannot call anything.

A pickle is a little program. Python's own machine looks up whatever name it asks for and calls it. This one
never imports, looks up or calls anything that a file names: a name stays a text (:class:`PickledName`), an
object stays what it was made from (:class:`PickledObject`), whatever it was, and only the few names of
``torch_tensors`` that stand for tensors and plain containers become one, by code of this package.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from initcfg.errors import CheckpointError

# Nothing in a checkpoint needs longer ones (NumPy's arrays are texts, too); they cost what their bytes say.
_LONGEST_TEXT = 1 << 32
_LONGEST_INTEGER = 64
_LONGEST_NAME = 1024
_WIDEST_KEY = 128
# Each costs many times the byte that makes it.
_MOST_CONTAINERS = 1_000_000
# Python hashes a larger integer to the same as a smaller one: files could make a table slow with them.
_LARGEST_KEY = (1 << 61) - 2
Call = Callable[[tuple[Any, ...]], Any]


class PickleProblem(Exception):
    """The bytes are not a pickle, or not one that a checkpoint has."""


class RefusedName(Exception):
    """A pickle asks for something that is not on the list: ``"os.system"``."""


class OldText(str):
    """What Python 2 called a string: perhaps a text, perhaps the bytes of an array."""

    __slots__ = ("raw",)
    raw: bytes


class KeyTuple(tuple[Any, ...]):
    """A tuple as a key. Which tuples of numbers have one hash, everybody can know; of texts nobody can."""

    __slots__ = ()

    def __hash__(self) -> int:
        # Of a text that was hashed before, Python knows the hash.
        texts = (each if isinstance(each, (str, KeyTuple)) else _hashed_as(each) for each in self)
        return hash(tuple(map(hash, texts)))


@dataclass(eq=False, slots=True)
class PickledName:
    """A name of a class or a function. Nothing was looked up."""

    name: str


@dataclass(eq=False, slots=True)
class PickledObject:
    """An object, as what it is made from: the name of a class or function, its arguments, and what would be
    done to the result: attributes given to it (``state``), items set by key, elements appended.
    """

    name: str
    args: tuple[Any, ...] = ()
    state: Any = None
    # None until there are some: a byte of a file makes an object.
    items: dict[Any, Any] | None = None
    elements: list[Any] | None = None


class PickledTable(dict[Any, Any]):
    """A table, and the attributes that it has beside its items: a state_dict has ``_metadata``."""

    attributes: Any = None


@dataclass(eq=False)
class PickleMachine:
    """Reads one pickle, from a place in some bytes.

    Args:
        calls: What the machine makes of a call, by name; arguments in, a value out.
        allowed: Whether a name that is not in ``calls`` may occur. It stays a name.
        persistent: What a persistent id (a storage, in torch's files) stands for.
    """

    data: Any
    place: int = 0
    _: KW_ONLY
    calls: Mapping[str, Call]
    allowed: Callable[[str], bool]
    persistent: Callable[[Any], Any] | None = None
    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)
    containers: int = 0

    def load(self) -> Any:
        """What the pickle holds; afterwards ``place`` is behind it."""
        try:
            while True:
                code = self.data[self.place : self.place + 1]
                self.place += 1
                if code == b".":
                    if len(self.stack) != 1 or self.marks:
                        raise PickleProblem("it ends before it is complete")
                    return self.stack.pop()
                if code in _VALUES:
                    self.stack.append(_VALUES[code](self))
                elif code in _STEPS:
                    _STEPS[code](self)
                elif code:
                    raise PickleProblem(f"it has the instruction {code!r}, which no checkpoint needs")
                else:
                    raise PickleProblem("it ends in the middle")
        except CheckpointError:
            raise
        except (IndexError, struct.error) as error:
            raise PickleProblem("it ends in the middle, or takes more than was put") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise PickleProblem("it uses something as what it is not") from error

    def contained(self, made: Any) -> Any:
        """A container that was just made; there are no more of them than a file of this size needs."""
        self.containers += 1
        if self.containers > _MOST_CONTAINERS + len(self.data) // 3:
            raise PickleProblem(f"it has more than {self.containers - 1:,} lists and tables in so few bytes")
        return made

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.place:
            raise PickleProblem(f"it has a part of {count:,} bytes, which is more than there are")
        if count > _LONGEST_TEXT:
            raise PickleProblem(f"it has a text of {count:,} bytes")
        self.place += count
        return self.data[self.place - count : self.place]

    def number(self, form: str) -> int:
        return struct.unpack("<" + form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        end = self.data.find(b"\n", self.place, self.place + _LONGEST_NAME)
        if end < 0:
            raise PickleProblem("it has a name without end")
        text = _decoded(self.take(end - self.place))
        self.place += 1
        return text

    def pop(self) -> Any:
        # What lies below a mark is not to be taken before the mark is.
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise PickleProblem("it takes what lies below a mark")
        return self.stack.pop()

    def above_mark(self) -> list[Any]:
        if not self.marks:
            raise PickleProblem("it takes a mark that it never put")
        mark = self.marks.pop()
        taken = self.stack[mark:]
        del self.stack[mark:]
        return taken

    def remember(self, place: int) -> None:
        self.memo[place] = self.stack[-1]

    def remembered(self, place: int) -> Any:
        if place not in self.memo:
            raise PickleProblem("it takes what it never remembered")
        return self.memo[place]

    def name(self, module: Any, attribute: Any) -> PickledName:
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise PickleProblem("it has a name that is not a text")
        text = f"{_RENAMED.get(module, module)}.{attribute}"
        if len(text) > _LONGEST_NAME or not (text in self.calls or self.allowed(text)):
            raise RefusedName(text[:_LONGEST_NAME])
        return PickledName(text)

    def call(self, named: bool = False) -> Any:
        """The call of what lies on the stack; with arguments by name, if they are there too."""
        more = self.pop() if named else {}
        args, function = self.pop(), self.pop()
        if not isinstance(function, (PickledName, PickledObject)):
            raise PickleProblem("it calls something that is not a name")
        if not isinstance(args, tuple) or not isinstance(more, dict):
            raise PickleProblem(f"it calls {function.name} with no arguments")
        known = self.calls.get(function.name) if isinstance(function, PickledName) else None
        args += (more,) if more else ()
        if known is None:
            return PickledObject(function.name, args)
        try:
            return known(args)
        except CheckpointError:
            raise
        except (TypeError, ValueError) as error:
            raise PickleProblem(f"it calls {function.name} with arguments that it cannot have") from error

    def build(self) -> None:
        state, target = self.pop(), self.stack[-1]
        if isinstance(target, PickledObject):
            target.state = state
        elif isinstance(target, (PickledName, str, bytes, int, float, tuple, list, type(None))):
            raise PickleProblem("it gives attributes to what has none")
        elif isinstance(target, PickledTable):
            target.attributes = state
        # What a tensor has beside its numbers is of no use here.

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, PickledObject) and target.elements is None:
            target.elements = []
        elements = target.elements if isinstance(target, PickledObject) else target
        if not isinstance(elements, list):
            raise PickleProblem("it appends to what is not a list")
        elements.extend(values)

    def set_items(self, flat: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, PickledObject) and target.items is None:
            target.items = {}
        table = target.items if isinstance(target, PickledObject) else target
        if not isinstance(table, dict):
            raise PickleProblem("it sets an item of what is not a table")
        filled(table, flat)

    def check_protocol(self) -> None:
        if not 2 <= self.number("B") <= 5:
            raise PickleProblem("its protocol is not one that a checkpoint has")

    def check_frame(self) -> None:
        if self.number("Q") > len(self.data) - self.place:
            raise PickleProblem("it has a frame that is longer than the file")

    def outside(self) -> Any:
        if self.persistent is None:
            raise PickleProblem("it refers to something outside it")
        return self.persistent(self.pop())


def filled(table: dict[Any, Any], flat: list[Any]) -> dict[Any, Any]:
    """The table, after keys and values, in turn, were put into it."""
    if len(flat) % 2:
        raise PickleProblem("it has a key without a value")
    for key, value in zip(flat[::2], flat[1::2], strict=True):
        if not _can_be_key(key):
            raise PickleProblem(f"it has a {type(key).__name__} as a key")
        table[_as_key(key) if isinstance(key, tuple) else key] = value
    return table


def _hashed_as(value: Any) -> Any:
    """What a value in a tuple is hashed as: numbers as texts."""
    return repr(value) if isinstance(value, (int, float)) else value


def _as_key(value: tuple[Any, ...]) -> KeyTuple:
    return KeyTuple(_as_key(each) if isinstance(each, tuple) else each for each in value)


def _can_be_key(value: Any) -> bool:
    # Tuples in tuples are counted as Python hashes them, which of doubled ones takes exponential time.
    waiting, count = [value], 0
    while waiting:
        each = waiting.pop()
        count += 1
        if isinstance(each, tuple) and count + len(waiting) + len(each) <= _WIDEST_KEY:
            waiting.extend(each)
        elif type(each) is int:
            if abs(each) > _LARGEST_KEY:
                return False
        elif not isinstance(each, (str, bytes, float, bool, type(None), PickledName, PickledObject)):
            return False
    return True


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise PickleProblem("it has a text that is not UTF-8") from error


def _old_text(data: bytes) -> OldText:
    # Nearly always ASCII.
    try:
        text = OldText(data.decode("utf-8"))
    except UnicodeDecodeError:
        text = OldText(data.decode("latin-1"))
    text.raw = data
    return text


def _integer(machine: PickleMachine, count: int) -> int:
    if not 0 <= count <= _LONGEST_INTEGER:
        raise PickleProblem(f"it has an integer of {count:,} bytes")
    return int.from_bytes(machine.take(count), "little", signed=True)


_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}

# The instructions, as pickletools lists them: those that put something on the stack,
_VALUES: dict[bytes, Callable[[PickleMachine], Any]] = {
    b"N": lambda machine: None,
    b"\x88": lambda machine: True,
    b"\x89": lambda machine: False,
    b"J": lambda machine: machine.number("i"),
    b"K": lambda machine: machine.number("B"),
    b"M": lambda machine: machine.number("H"),
    b"\x8a": lambda machine: _integer(machine, machine.number("B")),
    b"\x8b": lambda machine: _integer(machine, machine.number("i")),
    b"G": lambda machine: struct.unpack(">d", machine.take(8))[0],
    b"U": lambda machine: _old_text(machine.take(machine.number("B"))),
    b"T": lambda machine: _old_text(machine.take(machine.number("I"))),
    b"C": lambda machine: machine.take(machine.number("B")),
    b"B": lambda machine: machine.take(machine.number("I")),
    b"\x8e": lambda machine: machine.take(machine.number("Q")),
    b"\x96": lambda machine: machine.take(machine.number("Q")),
    b"\x8c": lambda machine: _decoded(machine.take(machine.number("B"))),
    b"X": lambda machine: _decoded(machine.take(machine.number("I"))),
    b"\x8d": lambda machine: _decoded(machine.take(machine.number("Q"))),
    b"]": lambda machine: machine.contained([]),
    b"}": lambda machine: machine.contained({}),
    b")": lambda machine: (),
    b"\x8f": lambda machine: machine.contained(PickledObject("builtins.set")),
    b"\x91": lambda machine: machine.contained(
        PickledObject("builtins.frozenset", tuple(machine.above_mark()))
    ),
    b"d": lambda machine: machine.contained(filled({}, machine.above_mark())),
    b"l": lambda machine: machine.contained(machine.above_mark()),
    b"t": lambda machine: machine.contained(tuple(machine.above_mark())),
    b"\x85": lambda machine: machine.contained((machine.pop(),)),
    b"\x86": lambda machine: machine.contained((machine.pop(), machine.pop())[::-1]),
    b"\x87": lambda machine: machine.contained((machine.pop(), machine.pop(), machine.pop())[::-1]),
    b"2": lambda machine: machine.stack[-1],
    b"h": lambda machine: machine.remembered(machine.number("B")),
    b"j": lambda machine: machine.remembered(machine.number("I")),
    b"c": lambda machine: machine.name(machine.line(), machine.line()),
    b"\x93": lambda machine: machine.name(*(machine.pop(), machine.pop())[::-1]),
    b"R": PickleMachine.call,
    b"\x81": PickleMachine.call,
    b"\x92": lambda machine: machine.call(named=True),
    b"Q": PickleMachine.outside,
}
# and those that change something.
_STEPS: dict[bytes, Callable[[PickleMachine], Any]] = {
    b"\x80": PickleMachine.check_protocol,
    b"\x95": PickleMachine.check_frame,
    b"(": lambda machine: machine.marks.append(len(machine.stack)),
    b"0": PickleMachine.pop,
    b"1": PickleMachine.above_mark,
    b"q": lambda machine: machine.remember(machine.number("B")),
    b"r": lambda machine: machine.remember(machine.number("I")),
    b"\x94": lambda machine: machine.remember(len(machine.memo)),
    b"a": lambda machine: machine.append([machine.pop()]),
    b"e": lambda machine: machine.append(machine.above_mark()),
    b"\x90": lambda machine: machine.append(machine.above_mark()),
    b"s": lambda machine: machine.set_items([machine.pop(), machine.pop()][::-1]),
    b"u": lambda machine: machine.set_items(machine.above_mark()),
    b"b": PickleMachine.build,
}
