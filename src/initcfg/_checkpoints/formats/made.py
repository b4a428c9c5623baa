"""What a pickle's names and objects are read as: texts and parts, never the things themselves."""

from __future__ import annotations

from typing import Any


class PickleProblem(Exception):
    """The bytes are no pickle, or none that a checkpoint has."""


class RefusedName(Exception):
    """A pickle asks for something that is not on the list.

    Args:
        name: What it asks for: ``"os.system"``.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Name:
    """A name of a class or a function. Nothing was looked up."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


class Made:
    """An object, as what it is made from: its class's name, and what was given to it.

    Attributes:
        name: Of its class, or of the function that would make it.
        args: The arguments.
        state: The attributes that it would get.
        items: What would be set in it by key.
        elements: What would be appended to it.
    """

    __slots__ = ("args", "elements", "items", "name", "state")

    def __init__(self, name: str, args: tuple[Any, ...] = ()) -> None:
        self.name = name
        self.args = args
        self.state: Any = None
        self.items: dict[Any, Any] = {}
        self.elements: list[Any] = []
