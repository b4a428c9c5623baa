"""Rules: the entries of an `init_cfg`, and the order in which they would run.

In: an `init_cfg` as it was written, and a model.
Out: a program: its steps, each a rule over a subtree, or code of a user's own. No tensor is touched.

Read: `initializers/` (what a rule fills with), then `scale.py` (by what it multiplies),
`schemes/` (recipes of rules), `layer_names.py` and `patterns.py` (which modules and
tensors are meant), `expressions.py` (patterns that take no forever), `types.py` (from a `type` to an
initializer), `rule.py` (one entry), `own_keys.py` (roles, scales and multipliers in it),
`parsing.py` (from what was written to rules), `own_rules.py` (of many modules alike, once), `written.py` and
`literals.py` (where that stands in code), `methods.py` (a module's own `init_weights`), `libraries.py` (of
whom it is left alone), `asked_methods.py` (unless a rule asks), `steps.py` and `program.py` (the walk over
the model, in the order of the original), `idle.py` (rules that it does not come to), `originals.py` (the
original's own functions, while code of a user's own runs).
"""

from initcfg._rules.expressions import Expression
from initcfg._rules.layer_names import check_layer_names, dotted, known_layer_names, parse_layers
from initcfg._rules.libraries import register_library
from initcfg._rules.methods import has_init_weights, is_initialized
from initcfg._rules.originals import originals_come_back
from initcfg._rules.own_keys import TUNED, TUNED_FOR
from initcfg._rules.patterns import Pattern, unmatched
from initcfg._rules.program import Compiler
from initcfg._rules.rule import Rule, SchemeRule, bias_of, location, show_cfg
from initcfg._rules.schemes import Scheme, schemes
from initcfg._rules.steps import Program, Step
from initcfg._rules.types import construct, resolve_type, type_label
from initcfg._rules.written import Place, WrittenAt, called_with, given_at

__all__ = [
    "TUNED",
    "TUNED_FOR",
    "Compiler",
    "Expression",
    "Pattern",
    "Place",
    "Program",
    "Rule",
    "Scheme",
    "SchemeRule",
    "Step",
    "WrittenAt",
    "bias_of",
    "called_with",
    "check_layer_names",
    "construct",
    "dotted",
    "given_at",
    "has_init_weights",
    "is_initialized",
    "known_layer_names",
    "location",
    "originals_come_back",
    "parse_layers",
    "register_library",
    "resolve_type",
    "schemes",
    "show_cfg",
    "type_label",
    "unmatched",
]
