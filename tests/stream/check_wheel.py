"""What a wheel is tested by where it was built: its kernel is there, and makes the reference's numbers.

    python tests/stream/check_wheel.py WHEEL

Needs NumPy alone: the wheel is unpacked, not installed, since not every platform has torch.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path


def main(wheel: str) -> None:
    """Exit with a message if something is wrong."""
    assert "-py3-none-" in Path(wheel).name, f"{wheel} is not for any Python 3"
    assert not wheel.endswith("-any.whl"), f"{wheel} holds no kernel"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        sys.path.insert(0, folder)
        import numpy as np

        from initcfg._stream.bits import kernel, recipe, reference, stream_key

        assert Path(kernel.__file__).is_relative_to(folder)
        assert kernel.available(), kernel.why_not()
        recipes = [
            recipe.uniform_recipe(-0.1, 0.7, False),
            recipe.normal_recipe(0.1, 0.02, False),
            recipe.normal_recipe(0.1, 0.02, True),
            recipe.trunc_normal_recipe(0.0, 1.0, -2.0, 2.0, False),
            recipe.trunc_normal_recipe(0.0, 1.0, 6.0, 8.0, True),
        ]
        key, count = stream_key(0, "weight"), 10_007
        for path in kernel.paths():
            for each in recipes:
                made = np.empty(count, dtype=np.float64 if each.double else np.float32)
                dims = (kernel.Dim(count, 1, 1),)
                job = kernel.Job(made.ctypes.data, str(made.dtype), each, key, 5, dims)
                kernel.fill([job], 2, path=path)
                assert made.tobytes() == reference.drawn(each, key, 5, count).tobytes(), (path, each)
        print(f"{Path(wheel).name}: {', '.join(kernel.paths())}, equal to the reference")


if __name__ == "__main__":
    main(sys.argv[1])
