"""Schemes: published ways to initialize whole models, each a recipe of rules under a name.

In: the arguments of a scheme.
Out: rules in the language of an `init_cfg`, the later ones winning.

Read: `scheme.py` (what a scheme is), then a file for each family: `language.py` (language models),
`encoder_decoders.py` (T5 and its relatives), `residual.py` (residual networks), `vision.py`, `attention.py`
and `image_text.py` (images, and images with text), `states.py` (recurrent models and state spaces),
`fields.py` (networks of coordinates), `parts.py` (adapters, agents, attention of detectors), `widths.py`
(transfer across widths, of a base: `base_model.py`) with `depths.py` (across depths too: `branch_ends.py` and
`norm_gains.py` know what a branch's factor goes into), and `spectral.py` (by shapes alone), `signal.py` (any
model, by what it does to a signal).
"""

# Each registers its schemes.
import initcfg._rules.schemes.attention
import initcfg._rules.schemes.depths
import initcfg._rules.schemes.encoder_decoders
import initcfg._rules.schemes.fields
import initcfg._rules.schemes.image_text
import initcfg._rules.schemes.language
import initcfg._rules.schemes.parts
import initcfg._rules.schemes.residual
import initcfg._rules.schemes.signal
import initcfg._rules.schemes.spectral
import initcfg._rules.schemes.states
import initcfg._rules.schemes.vision  # noqa: F401
from initcfg._rules.schemes.scheme import Base, Scheme, schemes
from initcfg._rules.schemes.widths import OfBase

__all__ = ["Base", "OfBase", "Scheme", "schemes"]
