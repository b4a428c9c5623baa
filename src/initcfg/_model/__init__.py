"""A model as the other stations see it: its tensors by name, what they mean, where they lie.

In: a PyTorch model, wrapped, tied, parametrized or sharded as it may be.
Out: its tensors under canonical names, with their layouts and local blocks; and the ``BaseModule`` family.

Read: `contents.py` (what a module holds by itself) with `keras_layers.py` (what a layer of Keras does),
then `names.py` (every tensor under one canonical name) with `holdings.py` (which layers are alike),
`targets.py` (the weights and biases of a layer, and what their axes mean) with `layouts.py` (what classes
declare of that), `shards.py` (the blocks of a tensor that a rank holds, and FSDP's shards in their place),
`dispatch_modes.py` (what sees every operation), `in_place_writes.py` (which tensors code wrote),
`shared_memory.py` (which have memory in common), `whereabouts.py` (which it put in the place of others),
`base_module.py` (modules with an ``init_cfg``, and copies of one) with `code_places.py` (what a place in
code is called), `function_bodies.py` (functions that do something else meanwhile), `roles/` (what each
tensor does), `widths/` (what grows with the width), `moments/` (what becomes of a signal), `load_hooks/`
(what its own code does to a ``state_dict``), `doors.py` (the one door up to the stations above);
`collector.py` (Python's collector of garbage, out of the way).
"""

from initcfg._model import doors
from initcfg._model.base_module import (
    BaseModule,
    ModuleDict,
    ModuleList,
    Sequential,
    copied_rules,
    has_no_rules,
    holds_tensors,
)
from initcfg._model.code_places import TORCH_FOLDER, code_place, frame_place, of_builders
from initcfg._model.collector import collecting, fewer_collections, paused_collector
from initcfg._model.contents import (
    buffers_of,
    children_of,
    is_compiled,
    modules_of,
    parameters_of,
    replace_tensor,
)
from initcfg._model.dispatch_modes import DispatchMode
from initcfg._model.doors import active_run, running
from initcfg._model.function_bodies import give_body, original_of
from initcfg._model.holdings import Entry, Holding, Likeness
from initcfg._model.in_place_writes import (
    Observer,
    names_by_storage,
    storage_of,
    tensors_in,
    unobserved,
    written_tensors,
)
from initcfg._model.keras_layers import is_keras
from initcfg._model.layouts import declares_layouts, layout_of_raw, register_layout
from initcfg._model.load_hooks import (
    Filled,
    HookFailed,
    HookOutcome,
    LoadHooks,
    counter_may_be_missing,
    hooks_in,
    outermost,
    run_load_hooks,
)
from initcfg._model.moments import ORTHOGONAL_UP_TO, Product, Seen, analyzed, product_of
from initcfg._model.names import (
    LAZY,
    PENDING,
    RUN_ONE_BATCH,
    Names,
    Node,
    child_items,
    first_names,
    group_of_replicas,
    modules_in,
    named_tensors,
    relative_name,
    unwrapped,
    wrapper_attribute,
)
from initcfg._model.roles import (
    ROLE_NAMES,
    Roles,
    TensorRole,
    declaration,
    example_of,
    find_roles,
    stand_in,
)
from initcfg._model.shards import (
    HeldBlock,
    blocks_of_ranks,
    hold_shards,
    is_sharded,
    local_blocks,
    local_of,
    note_shards,
    rank_sets,
    stored_in,
)
from initcfg._model.shared_memory import memory_range, memory_ranges, sharing_memory
from initcfg._model.targets import Target, original_targets, plain_layout, targets
from initcfg._model.whereabouts import Watch, changes, place_of, places_of, renames
from initcfg._model.widths import Shapes, TensorWidth, Widths, block_of, compare_widths, shapes_of, template

__all__ = [
    "HeldBlock",
    "Holding",
    "Likeness",
    "blocks_of_ranks",
    "ORTHOGONAL_UP_TO",
    "Product",
    "product_of",
    "BaseModule",
    "DispatchMode",
    "Entry",
    "Filled",
    "HookFailed",
    "HookOutcome",
    "LAZY",
    "LoadHooks",
    "ModuleDict",
    "ModuleList",
    "Names",
    "Node",
    "PENDING",
    "Observer",
    "ROLE_NAMES",
    "Seen",
    "analyzed",
    "RUN_ONE_BATCH",
    "Roles",
    "Sequential",
    "Shapes",
    "Target",
    "TensorRole",
    "TensorWidth",
    "Watch",
    "Widths",
    "active_run",
    "block_of",
    "buffers_of",
    "changes",
    "compare_widths",
    "child_items",
    "children_of",
    "TORCH_FOLDER",
    "code_place",
    "collecting",
    "copied_rules",
    "declaration",
    "declares_layouts",
    "frame_place",
    "has_no_rules",
    "counter_may_be_missing",
    "doors",
    "example_of",
    "find_roles",
    "first_names",
    "give_body",
    "hold_shards",
    "holds_tensors",
    "hooks_in",
    "is_compiled",
    "is_keras",
    "is_sharded",
    "layout_of_raw",
    "local_blocks",
    "local_of",
    "memory_range",
    "memory_ranges",
    "modules_in",
    "modules_of",
    "group_of_replicas",
    "named_tensors",
    "names_by_storage",
    "note_shards",
    "of_builders",
    "original_of",
    "original_targets",
    "plain_layout",
    "outermost",
    "paused_collector",
    "parameters_of",
    "place_of",
    "places_of",
    "renames",
    "rank_sets",
    "stored_in",
    "register_layout",
    "relative_name",
    "replace_tensor",
    "run_load_hooks",
    "running",
    "shapes_of",
    "sharing_memory",
    "storage_of",
    "stand_in",
    "targets",
    "template",
    "tensors_in",
    "unobserved",
    "unwrapped",
    "wrapper_attribute",
    "written_tensors",
    "fewer_collections",
]
