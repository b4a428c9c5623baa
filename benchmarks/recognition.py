"""What `plan.recognize` finds in other people's models: a row for each architecture of recognition_truth.py.

    python benchmarks/recognition.py [--only SUBSTRING]

Each model is built as its library builds it, and traced. The truth is written from the libraries' source.
Recognized: one of the schemes that the source documents is among those that are found. False: a scheme that
is found and is none of these. Exits with 1 below 90 % or with a false match.

Needs the packages of tests/peers/requirements.txt (make test-peers installs them).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from recognition_truth import TRUTH, Truth
from zoo import ARCHITECTURES, prepare

ENOUGH = 0.9


def main(arguments: list[str] | None = None) -> int:
    """Print the table and the number; returns 1 if it is too low, or a match is false."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", metavar="SUBSTRING", default="", help="of LIBRARY/NAME")
    given = parser.parse_args(arguments)
    prepare()
    documented = recognized = wrong = count = 0
    print("| architecture | documented | found | | s |\n|---|---|---|---|---|", flush=True)
    for key, truth in TRUTH.items():
        if given.only not in key:
            continue
        count += 1
        began = time.perf_counter()
        try:
            found = _found(key, truth)
        except Exception as error:
            found, text = [], f"{type(error).__name__}: {str(error)[:100]}"
        else:
            text = "; ".join(str(each)[:90] for each in found) or "–"
        right = any({each.scheme, *each.also} & {*truth.schemes} for each in found)
        true = {*truth.schemes, *truth.also}
        false = [each.scheme for each in found if not {each.scheme, *each.also} & true]
        documented += bool(truth.schemes)
        recognized += right
        wrong += len(false)
        says = f"false: {', '.join(false)}" if false else "missed" if truth.schemes and not right else "right"
        seconds = time.perf_counter() - began
        print(f"| {key} | {' '.join(truth.schemes) or '–'} | {text} | {says} | {seconds:.1f} |", flush=True)
    share = recognized / max(1, documented)
    print(
        f"\n{count} architectures; of {documented} whose library documents a scheme, {recognized} are "
        f"recognized ({share:.1%}); false matches: {wrong}"
    )
    return int(share < ENOUGH or wrong > 0)


def _found(key: str, truth: Truth) -> list[Any]:
    import initcfg

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return initcfg.trace(_builder(key.partition(" ")[0], truth.options)).recognize()


def _builder(key: str, options: Mapping[str, Any]) -> Any:
    """What builds an architecture: of zoo.py where it has this one, else its library by its name."""
    library, _, name = key.partition("/")
    if key in ARCHITECTURES and not options:
        return ARCHITECTURES[key].build
    if library == "timm":
        import timm

        return partial(timm.create_model, name, **options)
    import torchvision

    return partial(torchvision.models.get_model, name, weights=None, **options)


if __name__ == "__main__":
    sys.exit(main())
