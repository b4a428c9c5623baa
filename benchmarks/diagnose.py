"""What a diagnosis finds in models that are broken in a known way, and what it says of healthy ones.

python benchmarks/diagnose.py [broken|healthy|broken2|healthy2] [PATTERN]
"""

from __future__ import annotations

import re
import sys
import time
import traceback

import torch
from diagnose_models import BROKEN, HEALTHY, Case, operators
from diagnose_more import MORE_BROKEN, MORE_HEALTHY

import initcfg

SETS = {"broken": BROKEN, "healthy": HEALTHY, "broken2": MORE_BROKEN, "healthy2": MORE_HEALTHY}


def run(name: str, case: Case, *, verbose: bool) -> bool | None:
    """Whether a model is diagnosed as it should; None where it cannot be made here."""
    torch.manual_seed(0)
    started = time.perf_counter()
    try:
        model, batch = case.build(), case.batch()
    except Exception as error:
        print(f"none  {name:22} {type(error).__name__}: {str(error)[:150]}", flush=True)
        return None
    try:
        options = {"lr": 1e-3, **case.options}
        diagnosis = initcfg.diagnose(model, batch, case.loss, **options)
    except Exception as error:
        print(f"FAIL  {name:22} {type(error).__name__}: {str(error)[:300]}", flush=True)
        if verbose:
            traceback.print_exc()
        return None if not case.expected else False
    codes = [f"{each.code}{'*' if each.mend else ''}" for each in diagnosis.findings if each.level != "info"]
    told = [f"{each.code}{'*' if each.mend else ''}" for each in diagnosis.findings if each.level == "info"]
    good = bool({each.code for each in diagnosis.findings} & {*case.expected}) if case.expected else not codes
    took = time.perf_counter() - started
    print(f"{'ok  ' if good else 'MISS'}  {name:22} {took:5.1f}s {codes} info {told}", flush=True)
    if verbose:
        print(diagnosis)
        print({key: float(f"{number:.3g}") for key, number in diagnosis.measures.numbers.items()}, flush=True)
    return good


def main() -> None:
    """Print a line a model, and the counts."""
    torch.set_num_threads(1)
    operators()
    chosen = sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] in SETS else None
    pattern = sys.argv[-1] if len(sys.argv) > 1 and sys.argv[-1] != chosen else ""
    for kind, cases in SETS.items():
        if chosen in (None, kind):
            some = {name: case for name, case in cases.items() if re.search(pattern, name)}
            results = [run(name, case, verbose=bool(pattern)) for name, case in some.items()]
            known = [each for each in results if each is not None]
            print(f"{kind}: as it should be {sum(known)} of {len(known)}; not made {results.count(None)}")


if __name__ == "__main__":
    main()
