"""Report: a diagnosis, or two side by side, as one HTML file, and a short form for notebooks.

In: a diagnosis, and a language.
Out: the text of a page: the verdict, findings as cards, five pictures, every tensor with its rule and
histogram.

Read: `wording.py` (English and Chinese, and what each code says), `localized.py` (a diagnosis in the language
of its page), `cards.py` (findings), `strip.py` (the heat strip), `pictures.py` (the other pictures),
`whole.py` (the page); of two initializations, `paired.py` (their pictures) and `both.py` (their page).
"""

from initcfg._diagnose.report.both import comparison_page, comparison_short
from initcfg._diagnose.report.whole import diagnosis_page, diagnosis_short

__all__ = ["comparison_page", "comparison_short", "diagnosis_page", "diagnosis_short"]
