"""What pyproject.toml cannot say: the kernel is built by cargo, if it is there, and wheels suit any Python.

The kernel is loaded by ctypes and knows nothing of Python, so one wheel for each platform serves every
version. Without cargo, or where it fails, the package is pure Python and makes the same numbers, slower.
"""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools_rust import Binding, RustExtension


class Wheel(bdist_wheel):
    """A wheel for any Python 3: on this platform, or on every one if no kernel was built."""

    def get_tag(self) -> tuple[str, str, str]:
        """The tag, asked for when all files are in place."""
        if any(Path(self.bdist_dir or ".").glob("**/initcfg/_kernel*")):
            return "py3", "none", super().get_tag()[2]
        self.root_is_pure = True
        return "py3", "none", "any"


setup(
    cmdclass={"bdist_wheel": Wheel},
    rust_extensions=[
        RustExtension(
            "initcfg._kernel",
            path="rust/Cargo.toml",
            binding=Binding.NoBinding,
            # The file's name then holds no version of Python.
            py_limited_api=True,
            # Optimized in an editable install too.
            debug=False,
            optional=True,
            args=["--locked"],
        )
    ],
)
