"""Errors: what can go wrong, said in full, and the wording of messages.

In: what was found, where, and what would fix it.
Out: an error whose text is one sentence and what is known besides: the rule, its place, the parameter, names
that were perhaps meant, and the fix.

Read: this file (the errors, by station), then `combined.py` (errors that are also what somebody else's code
raised), `arguments.py` (what a function is given is held to its annotations), `words.py` (numbers, bytes
and near names in messages), `yaml_words.py` (advice for who writes YAML), `paths.py` (texts that are no
paths), `sentences.py` (sentences in two languages), `shown.py` (a stranger's text, without what would steer
a terminal), `screen.py` (the one way to people's eyes).

Each class also derives from the built-in exception that the original system raised in that place, so that
code written for it still catches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

# For the package itself: what makes an error of two classes, and the words of messages.
from initcfg.errors.arguments import as_annotated as as_annotated
from initcfg.errors.arguments import in_words as in_words
from initcfg.errors.combined import also as also
from initcfg.errors.paths import path_problem as path_problem
from initcfg.errors.screen import add_row as add_row
from initcfg.errors.screen import as_json as as_json
from initcfg.errors.screen import console as console
from initcfg.errors.screen import draw as draw
from initcfg.errors.screen import in_html as in_html
from initcfg.errors.screen import in_html_lines as in_html_lines
from initcfg.errors.screen import line as line
from initcfg.errors.screen import log as log
from initcfg.errors.screen import new_table as new_table
from initcfg.errors.screen import render as render
from initcfg.errors.screen import say as say
from initcfg.errors.screen import stacked as stacked
from initcfg.errors.screen import warn as warn
from initcfg.errors.sentences import LANGUAGES as LANGUAGES
from initcfg.errors.sentences import Sentences as Sentences
from initcfg.errors.sentences import filled as filled
from initcfg.errors.shown import shown as shown
from initcfg.errors.shown import shown_lines as shown_lines
from initcfg.errors.words import in_bytes as in_bytes
from initcfg.errors.words import mistaken as mistaken
from initcfg.errors.words import nearest as nearest
from initcfg.errors.words import plural as plural
from initcfg.errors.yaml_words import in_yaml as in_yaml
from initcfg.errors.yaml_words import is_yaml as is_yaml


class InitcfgError(Exception):
    """Base of all errors of this package.

    Args:
        problem: What is wrong: one complete sentence.
        rule: The rule (an ``init_cfg`` entry) as it was written.
        where: Where the rule, or the config, was written.
        parameter: Qualified name of the parameter concerned.
        shape: Shape of that parameter.
        meant: Names that could have been meant, nearest first.
        fix: The remedy: one sentence that says what to do, such as ``"Write layer='Conv2d'."``. It is
            given where there is one, and shown as the last line.

    Example:
        >>> from initcfg.errors import InitcfgError
        >>> print(InitcfgError("'Conv2D' names no class.", meant=["Conv2d"], fix="Correct the name."))
        'Conv2D' names no class.
          did you mean: 'Conv2d'
          fix:          Correct the name.
    """

    usual_fix: ClassVar[str | None] = None
    """The remedy where none is given, and no name was perhaps meant."""

    def __init__(
        self,
        problem: str,
        *,
        rule: Any = None,
        where: str | None = None,
        parameter: str | None = None,
        shape: Sequence[int] | None = None,
        meant: Sequence[str] = (),
        fix: str | None = None,
    ) -> None:
        # What others said may end in a stop of its own.
        problem = problem[:-1] if problem.endswith("..") and not problem.endswith("...") else problem
        super().__init__(problem)
        self.problem = problem
        self.rule = rule
        self.where = where
        self.parameter = parameter
        self.shape = None if shape is None else tuple(shape)
        self.meant = tuple(meant)
        # Where in the config of a model it is, for who knows the file.
        self.key_path: tuple[str, ...] = ()
        self.fix = fix if fix is not None or meant else self.usual_fix

    def __str__(self) -> str:
        shape = "" if self.shape is None else f", shape {self.shape}"
        # Who writes YAML reads YAML.
        worded = in_yaml if is_yaml(self.where) else str
        known = {
            "rule": None if self.rule is None else worded(str(self.rule)),
            "where": self.where,
            "parameter": None if self.parameter is None else f"{self.parameter}{shape}",
            "did you mean": ", ".join(map(_quoted, self.meant)),
            "fix": None if self.fix is None else worded(self.fix),
        }
        lines = [f"  {f'{name}:':13} {shown(text)}" for name, text in known.items() if text not in (None, "")]
        # What came with lines of its own cannot pass for one of these.
        return "\n".join([shown_lines(self.problem, start="  | "), *lines])


# -- config files --------------------------------------------------------------------------------


def _quoted(meant: str) -> str:
    """A name in quotation marks; what has some already is words, or code."""
    return meant if "'" in meant or '"' in meant else repr(meant)


class ConfigError(InitcfgError, ValueError):
    """A config file cannot be used."""


class ConfigFileNotFoundError(ConfigError, FileNotFoundError):
    """A config file, or one of its bases, does not exist."""

    usual_fix = "Check the path."


class ConfigSyntaxError(ConfigError, SyntaxError):
    """A config file cannot be parsed; the message holds file and line."""

    usual_fix = "Correct the file in that place."


class ConfigTypeError(ConfigError, TypeError, AttributeError):
    """A config, or a part of it that has a meaning of its own, has the wrong Python type."""


class ConfigFormatError(ConfigError, OSError, TypeError):
    """No config is written in such a format."""


class ConfigMergeError(ConfigError, TypeError, KeyError, AttributeError):
    """A config and its base, or an override, do not fit together."""


class ConfigKeyError(ConfigError, KeyError, AttributeError):
    """A config has no such key, or can have none of that name."""


class ConfigImportError(ConfigError, ImportError):
    """A module that a config asks for cannot be imported."""


class ConfigExecutionError(ConfigError, RuntimeError):
    """The code of a Python config raised; this is also what it raised, and holds file and line."""

    usual_fix = "Correct the code there."


class PythonRefusedError(ConfigError, PermissionError):
    """A Python config is code, and code was refused (``--no-python``)."""


class UntrustedError(ConfigError, PermissionError):
    """A config that is not trusted (``--untrusted``) asks for what it may not."""


# -- registry and building -----------------------------------------------------------------------


class RegistryError(InitcfgError, KeyError):
    """A name cannot be registered or found."""


class UnknownTypeError(RegistryError):
    """``type`` names nothing that can be built."""


class DuplicateNameError(RegistryError, AssertionError):
    """A name, or a scope, is taken already."""


class RegistryTypeError(RegistryError, TypeError, AssertionError):
    """Something of the wrong Python type was given to a registry."""


class BuildError(InitcfgError, TypeError):
    """A class or function refused its arguments, or ``cfg`` has the wrong form."""


class BuildImportError(BuildError, ImportError):
    """A library that is to build something is not installed, or cannot be imported."""


class NoTypeError(BuildError, KeyError):
    """A ``cfg`` does not say what to build: it has no ``type``."""


# -- rules ---------------------------------------------------------------------------------------


class RuleError(InitcfgError, ValueError):
    """A rule (an ``init_cfg`` entry) is wrong."""


class RuleTypeError(RuleError, TypeError, AttributeError, AssertionError):
    """A rule, or one of its keys, has the wrong Python type."""


class MissingTypeError(RuleError, KeyError):
    """A rule says nothing about the initializer: it has no ``type``."""


class UnknownInitializerError(RuleError, UnknownTypeError):
    """``type`` names no initializer."""


class ArgumentError(RuleError, TypeError):
    """An initializer does not take such an argument, or needs one that is missing."""


class ArgumentValueError(ArgumentError, AssertionError, RuntimeError, ZeroDivisionError):
    """An argument of an initializer is a number or a word that has no meaning there."""


class UnknownLayerError(RuleError):
    """``layer`` names a class that exists nowhere."""


class PatternError(RuleError):
    """A pattern matches nothing, or is not a valid pattern."""


class OverrideError(RuleError, RuntimeError):
    """An ``override`` is malformed, or names a missing attribute."""


class OverrideTargetError(OverrideError, AttributeError):
    """An ``override`` names something that cannot be initialized."""


class UnusedRuleError(RuleError):
    """Under ``strict=True``: a rule reached nothing."""


# -- plan and apply ------------------------------------------------------------------------------


class PlanError(InitcfgError, ValueError):
    """No plan can be made, or a saved plan cannot be read."""


class FanError(PlanError):
    """Fans were asked of a tensor that has none."""


class RoleError(PlanError):
    """A rule asks for a role, or for a number of the model, that nobody knows here."""


class LazyParameterError(PlanError):
    """A lazy module has no shape yet."""


class TensorError(PlanError, TypeError, AttributeError, RuntimeError):
    """A tensor of a kind that cannot be initialized."""


class ApplyError(InitcfgError, RuntimeError):
    """A plan could not be carried out."""


class AgreementError(ApplyError):
    """The ranks of a job do not agree on what to write, or one of them failed."""


class PendingModelError(ApplyError):
    """A model that was built deferred is used before its plan was applied."""


class SavedPlanError(PlanError, ApplyError):
    """A plan or a ledger that was read from a file cannot be carried out: the message has the place in it."""


class LockError(InitcfgError, ValueError):
    """A lock file is not one that this version wrote, or was changed by hand."""


class CheckpointError(InitcfgError, ValueError):
    """A checkpoint cannot be read, or does not fit."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """A checkpoint does not exist."""

    usual_fix = "Check the path or the address."


class CheckpointNameError(CheckpointError, KeyError, AssertionError):
    """A checkpoint, or a table of them, has nothing under a name that is asked for."""


class CheckpointFetchError(CheckpointError, OSError):
    """A checkpoint cannot be fetched."""


class CheckpointImportError(CheckpointError, ImportError):
    """A package that fetches or reads a checkpoint is not installed."""


class DiagnosisError(InitcfgError, RuntimeError):
    """A model cannot be diagnosed, or a saved diagnosis cannot be read."""


class OutputError(InitcfgError, OSError):
    """A file cannot be written."""
