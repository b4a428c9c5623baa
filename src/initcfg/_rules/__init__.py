"""initcfg._rules"""

from initcfg._rules.originals import originals_come_back
from initcfg._rules.program import Compiler, Program, Step, has_init_weights
from initcfg._rules.rule import Rule, bias_of, location, show_cfg
from initcfg._rules.selection import (
    Pattern,
    check_layer_names,
    dotted,
    known_layer_names,
    module_classes,
    parse_layers,
    unmatched,
)
from initcfg._rules.types import construct, resolve_type, type_label

__all__ = [
    "Compiler",
    "Pattern",
    "Program",
    "Rule",
    "Step",
    "bias_of",
    "check_layer_names",
    "construct",
    "dotted",
    "has_init_weights",
    "known_layer_names",
    "location",
    "module_classes",
    "originals_come_back",
    "parse_layers",
    "resolve_type",
    "show_cfg",
    "type_label",
    "unmatched",
]
