"""Schemes: published ways to initialize whole models, each a recipe of rules under a name.

In: the arguments of a scheme.
Out: rules in the language of an `init_cfg`, the later ones winning.

Read: `scheme.py` (what a scheme is), then a file for each family: `transformers.py` (language models).
"""

import initcfg._rules.schemes.language
import initcfg._rules.schemes.transformers  # noqa: F401 - registers its schemes
from initcfg._rules.schemes.scheme import Base, Scheme, schemes

__all__ = ["Base", "Scheme", "schemes"]
