"""The pages that show initcfg beside somebody else's library, and who runs them."""

from __future__ import annotations

from pathlib import Path

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"


def pages(group: str) -> list[Path]:
    """The recipes whose blocks need this group's environment."""
    return [
        path
        for path in sorted(RECIPES.glob("*.md"))
        if f"<!-- needs {group} -->" in path.read_text(encoding="utf-8")
    ]
