"""Whatever device is the default: no tensor of our own is made there by chance."""

import ast
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src" / "initcfg"
# What torch puts on the default device, unless it is told another.
FACTORIES = {
    *(
        "arange",
        "as_tensor",
        "asarray",
        "empty",
        "empty_permuted",
        "empty_strided",
        "eye",
        "full",
        "linspace",
    ),
    *(
        "logspace",
        "normal",
        "ones",
        "rand",
        "randint",
        "randn",
        "randperm",
        "range",
        "scalar_tensor",
        "tensor",
    ),
    *("tril_indices", "triu_indices", "zeros"),
}


def without_device(tree: ast.AST) -> list[int]:
    """The lines of calls that make a tensor on whatever device is the default."""
    return [
        call.lineno
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "torch"
        and call.func.attr in FACTORIES
        and not any(each.arg in ("device", None) for each in call.keywords)
    ]


def test_each_tensor_is_made_on_a_device_that_is_said():
    found = {
        f"{path.relative_to(SOURCES)}:{line}"
        for path in sorted(SOURCES.rglob("*.py"))
        for line in without_device(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not found


def test_the_search_finds_them():
    assert without_device(ast.parse("torch.zeros(2)\ntorch.ones(2, device='cpu')\nx.zeros(2)")) == [1]
