"""Pickles read as data: a machine that knows the format and cannot call anything.

A pickle is a little program. Python's own machine looks up whatever name it asks for and calls it. This one
never imports, looks up or calls anything that a file names: a name stays a text (:class:`Name`), an object
stays what it was made from (:class:`Made`), and only the few names of ``names`` that stand for tensors and
plain containers become one, by code of this package.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from initcfg._checkpoints.formats.made import Made, Name, PickleProblem, RefusedName
from initcfg.errors import CheckpointError

# Nothing in a checkpoint needs longer ones; they cost what their bytes say.
_LONGEST_TEXT = 1 << 28
_LONGEST_INTEGER = 64
_LONGEST_NAME = 1024
_WIDEST_KEY = 64
# Python hashes a larger integer to the same as a smaller one: files could make a table slow with them.
_LARGEST_KEY = (1 << 61) - 2


Call = Callable[[tuple[Any, ...]], Any]
_MARK = object()


class Pickled:
    """One pickle, read from a place in some bytes.

    Args:
        data: The bytes.
        start: Where the pickle begins.
        calls: What the machine makes of a call, by name; arguments in, a value out.
        allowed: Whether a name that is not in ``calls`` may occur. It stays a name.
        persistent: What a persistent id (a storage, in torch's files) stands for.
    """

    def __init__(
        self,
        data: Any,
        start: int = 0,
        *,
        calls: Mapping[str, Call],
        allowed: Callable[[str], bool],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self.data = data
        self.place = start
        self.calls = calls
        self.allowed = allowed
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """What the pickle holds; afterwards ``place`` is behind it.

        Raises:
            PickleProblem: It is malformed.
            RefusedName: It names something that is not on the list.
        """
        steps = _STEPS
        try:
            while True:
                code = self.data[self.place]
                self.place += 1
                if code == _STOP:
                    if len(self.stack) != 1 or self.marks:
                        raise PickleProblem("it ends before it is complete")
                    return self.stack.pop()
                step = steps.get(code)
                if step is None:
                    raise PickleProblem(
                        f"it has the instruction {bytes([code])!r}, which no checkpoint needs"
                    )
                step(self)
        except CheckpointError:
            raise
        except IndexError as error:
            raise PickleProblem("it ends in the middle, or takes more than was put") from error
        except struct.error as error:
            raise PickleProblem("it ends in the middle") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise PickleProblem("it does something with what cannot be used so") from error

    # -- bytes ---------------------------------------------------------------------------------

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

    # -- the stack -----------------------------------------------------------------------------

    def pop(self) -> Any:
        # What lies below a mark is not to be taken before the mark is.
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise PickleProblem("it takes what lies below a mark")
        return self.stack.pop()

    def top(self) -> Any:
        return self.stack[-1]

    def above_mark(self) -> list[Any]:
        if not self.marks:
            raise PickleProblem("it takes a mark that it never put")
        mark = self.marks.pop()
        taken = self.stack[mark:]
        del self.stack[mark:]
        return taken

    # -- names and calls -----------------------------------------------------------------------

    def name(self, module: str, attribute: str) -> Name:
        text = f"{_RENAMED.get(module, module)}.{attribute}"
        if len(text) > _LONGEST_NAME or not (text in self.calls or self.allowed(text)):
            raise RefusedName(text[:_LONGEST_NAME])
        return Name(text)

    def call(self, function: Any, args: Any) -> Any:
        if not isinstance(function, Name):
            raise PickleProblem("it calls something that is no name")
        if not isinstance(args, tuple):
            raise PickleProblem(f"it calls {function.text} with no arguments")
        known = self.calls.get(function.text)
        if known is None:
            return Made(function.text, args)
        try:
            return known(args)
        except CheckpointError:
            raise
        except (TypeError, ValueError) as error:
            raise PickleProblem(f"it calls {function.text} with arguments that it cannot have") from error

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Made):
            target.state = state
        elif isinstance(target, (Name, str, bytes, int, float, tuple, list, type(None))):
            raise PickleProblem("it gives attributes to what has none")
        # What a dictionary or a tensor has beside its items is of no use here.

    def append(self, values: list[Any]) -> None:
        target = self.top()
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, Made):
            target.elements.extend(values)
        else:
            raise PickleProblem("it appends to what is no list")

    def set_items(self, flat: list[Any]) -> None:
        target = self.top()
        table = target.items if isinstance(target, Made) else target
        if not isinstance(table, dict):
            raise PickleProblem("it sets an item of what is no table")
        fill(table, flat)


def fill(table: dict[Any, Any], flat: list[Any]) -> None:
    """Put keys and values, in turn, into a table."""
    if len(flat) % 2:
        raise PickleProblem("it has a key without a value")
    for key, value in zip(flat[::2], flat[1::2], strict=True):
        if not _can_be_key(key):
            raise PickleProblem(f"it has a {type(key).__name__} as a key")
        table[key] = value


def _can_be_key(value: Any) -> bool:
    if isinstance(value, tuple):
        return len(value) <= _WIDEST_KEY and all(
            not isinstance(each, tuple) and _can_be_key(each) for each in value
        )
    if type(value) is int:
        return abs(value) <= _LARGEST_KEY
    return isinstance(value, (str, bytes, float, bool, type(None), Name, Made))


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise PickleProblem("it has a text that is none") from error


def _old_text(data: bytes) -> str:
    # What Python 2 called a string: nearly always ASCII.
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _integer(machine: Pickled, count: int) -> int:
    if not 0 <= count <= _LONGEST_INTEGER:
        raise PickleProblem(f"it has an integer of {count:,} bytes")
    return int.from_bytes(machine.take(count), "little", signed=True)


# -- the instructions ----------------------------------------------------------------------------

_STOP = ord(".")
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_STEPS: dict[int, Callable[[Pickled], None]] = {}


def _step(code: bytes) -> Callable[[Callable[[Pickled], None]], Callable[[Pickled], None]]:
    def register(function: Callable[[Pickled], None]) -> Callable[[Pickled], None]:
        _STEPS[code[0]] = function
        return function

    return register


def _push(code: bytes, make: Callable[[Pickled], Any]) -> None:
    _STEPS[code[0]] = lambda machine: machine.stack.append(make(machine))


_push(b"N", lambda _: None)
_push(b"\x88", lambda _: True)
_push(b"\x89", lambda _: False)
_push(b"J", lambda machine: machine.number("i"))
_push(b"K", lambda machine: machine.number("B"))
_push(b"M", lambda machine: machine.number("H"))
_push(b"\x8a", lambda machine: _integer(machine, machine.number("B")))
_push(b"\x8b", lambda machine: _integer(machine, machine.number("i")))
_push(b"G", lambda machine: struct.unpack(">d", machine.take(8))[0])
_push(b"U", lambda machine: _old_text(machine.take(machine.number("B"))))
_push(b"T", lambda machine: _old_text(machine.take(machine.number("I"))))
_push(b"C", lambda machine: machine.take(machine.number("B")))
_push(b"B", lambda machine: machine.take(machine.number("I")))
_push(b"\x8e", lambda machine: machine.take(machine.number("Q")))
_push(b"\x96", lambda machine: machine.take(machine.number("Q")))
_push(b"\x8c", lambda machine: _decoded(machine.take(machine.number("B"))))
_push(b"X", lambda machine: _decoded(machine.take(machine.number("I"))))
_push(b"\x8d", lambda machine: _decoded(machine.take(machine.number("Q"))))
_push(b"]", lambda _: [])
_push(b"}", lambda _: {})
_push(b")", lambda _: ())
_push(b"\x8f", lambda _: Made("builtins.set"))
_push(b"l", lambda machine: machine.above_mark())
_push(b"t", lambda machine: tuple(machine.above_mark()))
_push(b"\x85", lambda machine: (machine.pop(),))
_push(b"\x86", lambda machine: (machine.pop(), machine.pop())[::-1])
_push(b"\x87", lambda machine: (machine.pop(), machine.pop(), machine.pop())[::-1])
_push(b"2", lambda machine: machine.top())
_push(b"c", lambda machine: machine.name(machine.line(), machine.line()))


@_step(b"\x80")
def _protocol(machine: Pickled) -> None:
    if not 2 <= machine.number("B") <= 5:
        raise PickleProblem("its protocol is none that a checkpoint has")


@_step(b"\x95")
def _frame(machine: Pickled) -> None:
    if machine.number("Q") > len(machine.data) - machine.place:
        raise PickleProblem("it has a frame that is longer than the file")


@_step(b"(")
def _mark(machine: Pickled) -> None:
    machine.marks.append(len(machine.stack))


@_step(b"0")
def _pop(machine: Pickled) -> None:
    machine.pop()


@_step(b"1")
def _pop_mark(machine: Pickled) -> None:
    machine.above_mark()


@_step(b"q")
def _put(machine: Pickled) -> None:
    machine.memo[machine.number("B")] = machine.top()


@_step(b"r")
def _put_long(machine: Pickled) -> None:
    machine.memo[machine.number("I")] = machine.top()


@_step(b"\x94")
def _memoize(machine: Pickled) -> None:
    machine.memo[len(machine.memo)] = machine.top()


def _remembered(machine: Pickled, place: int) -> Any:
    if place not in machine.memo:
        raise PickleProblem("it takes what it never remembered")
    return machine.memo[place]


_push(b"h", lambda machine: _remembered(machine, machine.number("B")))
_push(b"j", lambda machine: _remembered(machine, machine.number("I")))


@_step(b"d")
def _table(machine: Pickled) -> None:
    flat = machine.above_mark()
    machine.stack.append({})
    machine.set_items(flat)


@_step(b"a")
def _append(machine: Pickled) -> None:
    machine.append([machine.pop()])


@_step(b"e")
@_step(b"\x90")
def _append_all(machine: Pickled) -> None:
    machine.append(machine.above_mark())


@_step(b"\x91")
def _frozen_set(machine: Pickled) -> None:
    machine.stack.append(Made("builtins.frozenset", tuple(machine.above_mark())))


@_step(b"s")
def _set_item(machine: Pickled) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


@_step(b"u")
def _set_items(machine: Pickled) -> None:
    machine.set_items(machine.above_mark())


@_step(b"\x93")
def _stack_name(machine: Pickled) -> None:
    attribute, module = machine.pop(), machine.pop()
    if not isinstance(module, str) or not isinstance(attribute, str):
        raise PickleProblem("it has a name that is no text")
    machine.stack.append(machine.name(module, attribute))


@_step(b"R")
@_step(b"\x81")
def _call(machine: Pickled) -> None:
    args, function = machine.pop(), machine.pop()
    machine.stack.append(machine.call(function, args))


@_step(b"\x92")
def _call_with_names(machine: Pickled) -> None:
    named, args, function = machine.pop(), machine.pop(), machine.pop()
    if not isinstance(args, tuple) or not isinstance(named, dict):
        raise PickleProblem("it makes an object with no arguments")
    machine.stack.append(machine.call(function, (*args, named) if named else args))


@_step(b"b")
def _build(machine: Pickled) -> None:
    machine.build()


@_step(b"Q")
def _persistent(machine: Pickled) -> None:
    if machine.persistent is None:
        raise PickleProblem("it refers to something outside it")
    machine.stack.append(machine.persistent(machine.pop()))
