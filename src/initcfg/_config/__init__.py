"""From what a user gives for a model to the model: config files, registries, and other people's builders.

In: a config file, a dict with a ``type``, or the text of a builder.
Out: the config, with the line of every value; the model, built.

Read: `files/` (config files), then `registry.py` (classes by name), `import_paths.py` (where a ``type`` may
lead outside of them), `annotations.py` (what parameters are annotated with), `config_objects.py` (objects
with settings, of dicts) with `settings_classes.py` (classes that hold some), `wrong_types.py` (values of
another type than the annotated one) and `refused_settings.py` (what pydantic and attrs refuse),
`permitted.py` (what a config file may name), `builders/` (models of other people's libraries), `models.py`
(registry of modules), `made_from.py` (which config built a module) with `narrow.py` (builds it again,
narrower), `command_argument.py` (what a command is given: a file or a builder), `function_file.py` (a
function in a file), `idle_keys.py` (keys that nothing reads), `misspelled_types.py` (names that MMEngine's
registries do not have).
"""

from initcfg._config.annotations import fills_tensor, first_annotation
from initcfg._config.builders import is_builder
from initcfg._config.command_argument import load_config, prepared
from initcfg._config.function_file import function_meant, function_of_file, names_function
from initcfg._config.idle_keys import idle_keys
from initcfg._config.made_from import builder_of
from initcfg._config.misspelled_types import told_of_misspelled_types
from initcfg._config.models import MODELS, build_model_from_cfg
from initcfg._config.narrow import built_again, built_on_meta
from initcfg._config.registry import Registry, build_from_cfg

__all__ = [
    "MODELS",
    "Registry",
    "build_from_cfg",
    "build_model_from_cfg",
    "builder_of",
    "built_again",
    "built_on_meta",
    "fills_tensor",
    "first_annotation",
    "function_meant",
    "function_of_file",
    "load_config",
    "names_function",
    "prepared",
    "idle_keys",
    "is_builder",
    "told_of_misspelled_types",
]
