"""A folder for whoever reads a document or a docstring."""

from __future__ import annotations

from reader_folder import reader_folder

__all__ = ["reader_folder"]
