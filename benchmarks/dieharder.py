"""Dieharder's tests on the stream: on its raw bits, and on many short named tensors laid end to end.

    apt-get install dieharder
    python benchmarks/dieharder.py bits
    python benchmarks/dieharder.py tensors

``bits`` is the words of one key. ``tensors`` is uniforms of float32: 1,000 elements each of tensors named
``layers.0.weight``, ``layers.1.weight``, ..., as many as the tests ask for; the upper 16 bits of two
neighbours make a word. Prints dieharder's table, and exits with 1 if a test FAILED. A few WEAK of some
hundred are what a perfect generator gives: it is a p-value beyond 0.995 or below 0.005.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np

from initcfg._stream.bits import kernel, stream_key
from initcfg._stream.bits.kernel import Dim, Job
from initcfg._stream.bits.recipe import BITS, uniform_recipe

SHORT = 1000
WORDS_AT_ONCE = 1 << 20
TENSORS_AT_ONCE = 1000


def bits(seed: int) -> Iterator[bytes]:
    """The words of one key, without end."""
    key, words, start = stream_key(seed, "weight"), np.empty(WORDS_AT_ONCE, np.uint32), 0
    while True:
        kernel.fill([Job(words.ctypes.data, "uint32", BITS, key, start, (Dim(words.size, 1, 1),))], 1)
        yield words.tobytes()
        start += words.size


def tensors(seed: int) -> Iterator[bytes]:
    """Words from the uniforms of short tensors, without end."""
    recipe, number = uniform_recipe(0.0, 1.0, False), 0
    numbers = np.empty((TENSORS_AT_ONCE, SHORT), np.float32)
    while True:
        names = [f"layers.{number + row}.weight" for row in range(TENSORS_AT_ONCE)]
        jobs = [
            Job(row.ctypes.data, "float32", recipe, stream_key(seed, name), 0, (Dim(SHORT, 1, 1),))
            for row, name in zip(numbers, names, strict=True)
        ]
        kernel.fill(jobs, 1)
        halves = (numbers.reshape(-1, 2) * 65536.0).astype(np.uint32)
        yield ((halves[:, 0] << np.uint32(16)) | halves[:, 1]).tobytes()
        number += TENSORS_AT_ONCE


def main() -> None:
    """Feed dieharder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", choices=("bits", "tensors"))
    parser.add_argument("--options", default="-a", help="dieharder's options: '-d 0' for one test alone")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    source = (bits if arguments.source == "bits" else tensors)(arguments.seed)
    command = ["dieharder", *shlex.split(arguments.options), "-g", "200"]
    lines: list[str] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None and stdout is not None

        def read() -> None:
            for line in stdout:
                lines.append(line.decode())
                print(lines[-1], end="", flush=True)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            for words in source:
                stdin.write(words)
        except BrokenPipeError:
            pass
        reader.join()
    rows = [line.split("|")[-1].strip() for line in lines if line.count("|") == 5]
    counts = {verdict: rows.count(verdict) for verdict in ("PASSED", "WEAK", "FAILED")}
    print(counts)
    sys.exit(1 if counts["FAILED"] or not counts["PASSED"] else 0)


if __name__ == "__main__":
    main()
