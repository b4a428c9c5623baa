"""Report: a diagnosis as one HTML file, and its short form for notebooks.

In: a diagnosis, and a language.
Out: the text of a page: the verdict, findings as cards, five pictures, every tensor with its rule and
histogram.

Read: `wording.py` (English and Chinese, and what each code says), `cards.py` (findings), `strip.py` (the heat
strip), `pictures.py` (the other pictures), `whole.py` (the page).
"""

from initcfg._diagnose.report.whole import diagnosis_page, diagnosis_short

__all__ = ["diagnosis_page", "diagnosis_short"]
