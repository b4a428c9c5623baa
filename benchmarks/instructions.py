"""Instructions that the kernel takes per element: counted by valgrind, so they do not drift as times do.

    python benchmarks/instructions.py [--path AVX2] [LIBRARY ...]

Each library is a build of the kernel, the one in use by default; one of a commit from before is built by
``git archive COMMIT rust | tar -x -C FOLDER; cargo build --release --manifest-path FOLDER/rust/Cargo.toml``.
A process draws 2¹⁶ elements, another 17 times as many, on one thread; the difference is of the elements
alone. In brackets, how often memory is read or written. valgrind knows no AVX-512. It has to be installed
(Debian: ``apt-get install valgrind``).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys

FEW, MANY = 1 << 16, 17 << 16
# It loads nothing but what it needs: all that Python does is counted, too.
CHILD = """
import ctypes, struct, sys
library, path, count, code, recipe = sys.argv[1:]
memory = ctypes.create_string_buffer(4 * int(count) + 64)
start = ctypes.addressof(memory)
dims = (ctypes.c_uint64 * 3)(int(count), 1, 1)
job = struct.pack("<QQQQII", start + -start % 64, ctypes.addressof(dims), 7, 0, 1, int(code))
fill = ctypes.CDLL(library).initcfg_fill
fill.argtypes = (ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32)
sys.exit(fill(job + bytes.fromhex(recipe), 1, 1, int(path)))
"""


def cases() -> dict[str, tuple[int, bytes]]:
    """Code of the type and packed recipe of each case."""
    from initcfg._stream.bits import kernel, normal_recipe, trunc_normal_recipe, uniform_recipe

    recipes = {
        "uniform, float32": (uniform_recipe(-0.1, 0.1, False), "float32"),
        "normal, float32": (normal_recipe(0.0, 0.02, False), "float32"),
        "truncated normal, float32": (trunc_normal_recipe(0.0, 0.02, -0.04, 0.04, False), "float32"),
        "normal, bfloat16": (normal_recipe(0.0, 0.02, False), "bfloat16"),
    }
    return {
        name: (kernel._TYPES[dtype][0], kernel._packed_recipe(recipe, dtype))
        for name, (recipe, dtype) in recipes.items()
    }


def counted(library: str, path: int, count: int, code: int, recipe: bytes) -> tuple[int, int]:
    """All instructions of a process that draws so many elements, and what they load and store."""
    words = ["valgrind", "--tool=callgrind", "--cache-sim=yes", "--callgrind-out-file=/dev/null"]
    words += [sys.executable, "-S"]
    words += ["-c", CHILD, library, str(path), str(count), str(code), recipe.hex()]
    done = subprocess.run(words, capture_output=True, text=True, env={"PYTHONHASHSEED": "0"}, check=False)
    found = re.search(r"Collected : (\d+) (\d+) (\d+)", done.stderr)
    if done.returncode or found is None:
        sys.exit(f"{library} on path {path}: ended with {done.returncode}\n{done.stderr[-2000:]}")
    return int(found[1]), int(found[2]) + int(found[3])


def per_element(library: str, path: int, code: int, recipe: bytes) -> str:
    """Both, of one more element."""
    many = counted(library, path, MANY, code, recipe)
    few = counted(library, path, FEW, code, recipe)
    own, moved = ((more - less) / (MANY - FEW) for more, less in zip(many, few, strict=True))
    return f"{own:.2f} ({moved:.2f})"


def main() -> None:
    """Print the table."""
    from initcfg._stream.bits import kernel

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY")
    parser.add_argument("--path", choices=["plain", "AVX2", "NEON"], default="AVX2")
    options = parser.parse_args()
    library = kernel.library()
    libraries = options.libraries or ([] if library is None else [library._name])
    path = kernel._PATHS[options.path]
    print(f"instructions per element (loads and stores), {options.path}:", *libraries, sep="\n")
    print("| |" + " |".join(f" {number} " for number in range(1, len(libraries) + 1)) + "|")
    print("|---|" + "---:|" * len(libraries))
    for name, case in cases().items():
        print(
            f"| {name} | " + " | ".join(per_element(each, path, *case) for each in libraries) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
