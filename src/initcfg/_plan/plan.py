"""The plan: what every parameter of a model will be, and which rule said so.

Immutable, free of tensors, printable, comparable, and JSON. Making one is the work of ``planner/``,
carrying it out that of ``_apply``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from initcfg._model import doors
from initcfg._plan.assignment import Assignment, Before, RuleNote, Unused, effect
from initcfg._plan.frozen import Frozen
from initcfg._plan.loads import Load
from initcfg._plan.plan_as_json import content_to_json, digest_of_plan, digests_of, plan_to_json, read_plan
from initcfg.errors import ApplyError, PlanError, as_annotated, plural

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch.distributed import ProcessGroup

    from initcfg._plan.ledger import Ledger
    from initcfg._plan.planner import GivenRoles
    from initcfg._plan.recognition import Recognized
    from initcfg._plan.report import PlanTable
    from initcfg._plan.tape import Recorded, Tape


@as_annotated(PlanError, but=("model", "module", "directory", "threads"), apply=ApplyError)
@dataclass(frozen=True, eq=False)
class Plan(Frozen, Mapping[str, Assignment]):
    """What every parameter of a model will be: an ordered mapping from name to assignment.

    Iteration gives the parameters in registration order; look-ups also answer for buffers that a
    rule fills, and for the other names of a tied tensor.

    Attributes:
        parameters: Assignment of each parameter.
        buffers: Assignment of each buffer that some rule reaches.
        aliases: The other names of tied tensors, each with its canonical name.
        unused: Rules that reached nothing.
        loads: Checkpoints that are loaded.
        notes: Remarks: bounds that cut nothing, and the like.
        uncalled: Modules whose own ``init_weights`` is not called: the original would not call it, or it is
            of a library that initializes in its constructors.
        libraries: Of these the latter, each with its library.
        nested: Modules whose ``init_cfg`` the original would skip, and that are reached here.
        uninitialized: Parameters that neither a rule nor their constructor writes: they hold
            whatever the memory held. Known for models that :func:`initcfg.build` made.
        partly_written: Parameters of which no rule and no code writes more than a part; the rest is zeros.
        before_code: The tensors that the model's own code makes, takes away (these are in no other mapping)
            or gives another shape or type: what there is before it runs, None for one that it makes.
        rules: Every rule by its path.
        compat: ``"mmengine"`` or None.
        whole: Of a part of a model: the digest of the whole model's plan.
        seed: The only seed that the plan is for, if it holds numbers which were computed with it.
    """

    parameters: Mapping[str, Assignment]
    buffers: Mapping[str, Assignment] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[Unused, ...] = ()
    loads: tuple[Load, ...] = ()
    notes: tuple[str, ...] = ()
    uncalled: tuple[str, ...] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)
    nested: tuple[str, ...] = ()
    uninitialized: tuple[str, ...] = ()
    partly_written: tuple[str, ...] = ()
    before_code: Mapping[str, Before | None] = field(default_factory=dict)
    rules: Mapping[str, RuleNote] = field(default_factory=dict)
    compat: str | None = None
    whole: str | None = None
    seed: int | None = None
    tape: Tape | None = field(default=None, repr=False)
    record: Recorded | None = field(default=None, repr=False)
    reached: tuple[str, ...] = field(default=(), repr=False)
    given: GivenRoles | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        known = (self.parameters, self.buffers, self.before_code)
        there = {name: of for name, of in self.aliases.items() if any(of in each for each in known)}
        # Of buffers that no rule reaches, a plan says nothing.
        object.__setattr__(self, "aliases", there)
        super().__post_init__()

    def __getitem__(self, name: str) -> Assignment:
        found = _lookup(self, name) or _lookup(self, self.aliases.get(name, name))
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.parameters)

    def __len__(self) -> int:
        return len(self.parameters)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plan) and content_to_json(self) == content_to_json(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        rules = {each.rule for each in self.values()} - {None}
        return f"<Plan of {plural(len(self), 'parameter')}, {plural(len(rules), 'rule')}>"

    def __str__(self) -> str:
        from initcfg._plan.report import plan_text

        return plan_text(self)

    def _repr_html_(self) -> str:
        from initcfg._plan.report.html import plan_short

        return plan_short(self)

    def to_html(self, path: str | Path | None = None, lang: str = "en") -> str:
        """The plan as a page: one HTML file that needs nothing besides, with a table that can be searched.

        Beside each value stands the histogram of the numbers that it gives. Pictures need matplotlib
        (``initcfg[report]``); without it their numbers are there as tables.

        Args:
            path: A file to write it to, whole or not at all.
            lang: ``"en"`` or ``"zh"``.

        Returns:
            The text of the page.
        """
        from initcfg._plan.report.html import plan_page

        return plan_page(self, path, lang)

    def to_table(self) -> PlanTable:
        """The plan as columns and rows, for loggers and data frames.

        Example:
            >>> import initcfg
            >>> from torch import nn
            >>> table = initcfg.plan(nn.Linear(2, 1), dict(type="Constant", layer="Linear", val=1)).to_table()
            >>> table.columns[:3], table.rows[0][:3]
            (['name', 'shape', 'elements'], ['weight', '1×2', 2])
        """
        from initcfg._plan.report import plan_table

        return plan_table(self)

    def explain(self, name: str) -> str:
        """The whole story of one parameter: each rule that reached it, in order, and who won.

        Raises:
            PlanError: There is no such parameter.
        """
        from initcfg._plan.report import explain_text

        return explain_text(self, name)

    def diff(self, other: Plan) -> dict[str, tuple[Assignment | None, Assignment | None]]:
        """The parameters and buffers whose value differs: name → (here, there); None if not there."""
        names = dict.fromkeys([*self.parameters, *self.buffers, *other.parameters, *other.buffers])
        pairs = {name: (_lookup(self, name), _lookup(other, name)) for name in names}
        return {name: (here, there) for name, (here, there) in pairs.items() if effect(here) != effect(there)}

    @property
    def digest(self) -> str:
        """SHA-256 of the plan's values: equal for two plans exactly if they fill every tensor alike."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return digest_of_plan(self)

    def digests(self) -> dict[str, str]:
        """By tensor: a short digest of what it gets."""
        return digests_of(self)

    def to_init_cfg(self, model: nn.Module | None = None, *, buffers: bool = True) -> list[dict[str, Any]]:
        """Rules that give every tensor its planned value, whatever its constructor does: short, and checked.

        They are plain data, for a config file. Tensors that the plan keeps, or that only code can fill,
        are left out.

        Args:
            model: The model; not needed for a plan that :func:`initcfg.trace` made.
            buffers: Whether to say buffers that nothing random is in, too: running statistics, tables of
                indices, masks. A model that is built has them from its constructor.

        Raises:
            PlanError: There is no model to say which modules there are, or it is another one; or no rule
                can give a tensor its value.

        Example:
            >>> import initcfg
            >>> from torch import nn
            >>> plan = initcfg.trace(lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)))
            >>> for rule in plan.to_init_cfg():
            ...     print(rule)
            {'type': 'TorchDefault', 'layer': 'Linear'}
            {'type': 'Constant', 'layer': 'LayerNorm', 'val': 1, 'bias': 0}
        """
        model = self._model_for(
            model,
            "Rules name the modules of a model, and this plan knows only its tensors.",
            fix="Pass the model: plan.to_init_cfg(model).",
        )
        drawn = {name: item for name, item in self.buffers.items() if item.value.random}
        return doors.export_plan(self if buffers else replace(self, buffers=drawn), model)

    def recognize(
        self, model: nn.Module | None = None, *, example: Any = None, roles: Any = None
    ) -> list[Recognized]:
        """The schemes of the catalogue that this plan amounts to, the best first; none where none does.

        A scheme is recognized where nine of ten tensors have its values, those of biases and norms apart, and
        all of those that it scales by role or depth.

        Args:
            model: The model; not needed for a plan that :func:`initcfg.trace` made, nor while the model that
                it was planned for lives.
            example: See :func:`initcfg.plan`, as ``roles``; by default what the plan was made with, or what
                the config that built the model says.

        Raises:
            PlanError: There is no model.

        Example:
            >>> import initcfg
            >>> from torch import nn
            >>> model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
            >>> plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=(2 / (5 * 64)) ** 0.5))
            >>> [str(each) for each in plan.recognize(model)]
            []
        """
        model = self._model_for(
            self.given.model if model is None and self.given is not None else model,
            "A scheme is recognized on a model, and this plan knows only its tensors.",
            fix="Pass the model: plan.recognize(model).",
        )
        return doors.recognize_plan(self, model, example=example, roles=roles)

    def part(
        self,
        module: nn.Module,
        *,
        name_prefix: str = "",
        name_map: Mapping[str, str] | Callable[[str], str] | None = None,
    ) -> Plan:
        """The plan of a module that holds some of this model's tensors: a stage of a pipeline, say.

        Each tensor gets what this plan says of it, with the numbers of its name in the whole model; so the
        stages together hold what the whole model would.

        Args:
            module: The part.
            name_prefix: What stands before its names in the whole model: ``"backbone."``.
            name_map: From names in the part to names in the whole model, where they are counted anew:
                ``{"layers.0": "layers.8"}`` (of several that fit, the longest), or a function.

        Raises:
            PlanError: This plan does not know a tensor of the part, or it is left to the model's own code.

        Example:
            >>> import initcfg
            >>> from torch import nn
            >>> model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
            >>> stage = nn.Sequential(nn.Linear(4, 4))
            >>> plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=0.02))
            >>> part = plan.part(stage, name_map={"0": "1"})
            >>> print(part["0.weight"].value)
            copy of 1.weight: Normal(mean=0, std=0.02)
            >>> _, _ = plan.apply(model, seed=0), part.apply(stage, seed=0)
            >>> bool((stage[0].weight == model[1].weight).all())
            True
        """
        from initcfg._plan.part import part_of

        return part_of(self, module, name_prefix, name_map)

    def apply(
        self,
        model: nn.Module,
        *,
        seed: int | None = None,
        rng: Literal["stream", "torch"] = "stream",
        atomic: bool = False,
        assign: bool = False,
        process_group: Any = None,
        collective: bool = False,
    ) -> Ledger:
        """Write the values into ``model``.

        Of a DTensor, each rank makes its own block, from its place in the whole: nothing is sent, and the
        result is that of one process. The ranks of its mesh agree beforehand on plan, seed and version, and
        fail together.

        Args:
            model: A model with the tensors that the plan was made for.
            seed: Integer in [0, 2⁶⁴); drawn from torch's global generator if None.
            rng: ``"stream"``: a value depends on seed, name and index alone. ``"torch"``: torch's global
                generator, draw by draw in the original's order.
            atomic: Work on a copy, one model of memory: an error leaves modules and tensors as they were.
            assign: Let parameters have a checkpoint's pages as memory, as if every rule said ``copy=False``.
                Nobody may save to that file then.
            process_group: Ranks that must agree besides, such as those of DDP.
            collective: Let ranks make orthogonal matrices for each other, and send them: the same bits.

        Returns:
            What was done, tensor by tensor.

        Raises:
            ApplyError: The model does not fit the plan, or a step failed.
            CheckpointError: A checkpoint cannot be read.
            AgreementError: Another rank failed, or has another plan, seed or version.
        """
        how = {"atomic": atomic, "assign": assign, "process_group": process_group, "collective": collective}
        return doors.apply_plan(self, model, seed=seed, rng=rng, **how)

    def tensor(
        self, name: str, *, seed: int | None = None, block: Sequence[slice] | None = None
    ) -> torch.Tensor:
        """One tensor, made without the model: bit for bit what :meth:`apply` writes with this seed.

        Args:
            name: Its name, or another name of a tied one; a buffer's, too.
            seed: Integer in [0, 2⁶⁴); not needed for what is not drawn.
            block: A slice for each dimension, to make that part alone: ``(slice(0, 2), slice(None))``.

        Raises:
            PlanError: There is no such tensor, or only the model has it: it keeps what its constructor wrote,
                or code or a batch of data decides; or its checkpoint cannot be read.

        Example:
            >>> import initcfg
            >>> from torch import nn
            >>> model = nn.Linear(4, 2)
            >>> plan = initcfg.plan(model, dict(type="Normal", layer="Linear", std=0.02))
            >>> ledger = plan.apply(model, seed=0)
            >>> bool((plan.tensor("weight", seed=0) == model.weight).all())
            True
            >>> plan.tensor("weight", seed=0, block=(slice(1, 2),)).shape
            torch.Size([1, 4])
        """
        return doors.make_tensor(self, name, seed=seed, block=block)

    def save_weights(
        self,
        directory: str | Path,
        model: nn.Module | None = None,
        *,
        seed: int | None = None,
        shard_size: str | int | None = None,
        dtype: str | None = None,
        format: Literal["safetensors", "dcp"] = "safetensors",
        overwrite: bool = False,
        checked: bool = True,
        dcp_key: str | None = None,
        threads: int | None = None,
        process_group: ProcessGroup | None = None,
    ) -> Ledger:
        """Write the checkpoint of a model straight to disk, however large: its weights are not in memory.

        The tensors are made piece by piece, those that are not blockwise one at a time. Of ``model`` only
        the names are used, and what the plan cannot say: buffers that it does not know, parametrized
        weights. Where the plan holds code of the model's own, the model is initialized in memory first.
        Interrupted, the same call goes on where it stopped.

        Args:
            directory: The folder, made if its parent exists. It gets ``model.safetensors``, or shards and
                ``model.safetensors.index.json``; ``model.ledger.json`` in any case.
            model: The model: one of :func:`initcfg.deferred`, or on the meta device. Not needed for a plan
                that :func:`initcfg.trace` made.
            seed: Integer in [0, 2⁶⁴). If None, that of what was begun in the folder, else drawn.
            shard_size: Bytes of tensors in a file at most: ``"2GiB"``; ``"5GB"`` if None.
            dtype: ``"bfloat16"``, ``"float16"`` or ``"float32"``: the type of floating-point tensors.
            format: ``"safetensors"``, or ``"dcp"`` for a folder of ``torch.distributed.checkpoint``.
            overwrite: Whether to replace a checkpoint that is there.
            checked: Whether what an earlier run finished is compared with its digest, which takes a read.
            dcp_key: For ``"dcp"``: the weights are under this key of the saved dict, as in
                ``{"model": model.state_dict()}``; None for its top.
            threads: How many threads compute: as many as torch uses if None; ``-1`` leaves a core to others.
            process_group: Ranks that split the work, each of which makes this call.

        Returns:
            The ledger.

        Raises:
            OutputError: The folder cannot be written, or holds another checkpoint.
            AgreementError: Ranks have different plans or seeds, or one of them failed.
            ApplyError: The model does not fit the plan.

        Example:
            >>> import initcfg, os, tempfile
            >>> from torch import nn
            >>> plan = initcfg.trace(lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     ledger = plan.save_weights(folder, seed=0)
            ...     print(sorted(os.listdir(folder)))
            ['model.ledger.json', 'model.safetensors']
        """
        model = self._model_for(
            model,
            "A checkpoint has the keys of a model's state_dict, and this plan knows only its tensors.",
            fix="Pass the model, built by initcfg.deferred() or on the meta device.",
        )
        return doors.save_plan(
            self,
            model,
            directory,
            seed=seed,
            shard_size=shard_size,
            dtype=dtype,
            format=format,
            overwrite=overwrite,
            checked=checked,
            dcp_key=dcp_key,
            threads=threads,
            process_group=process_group,
        )

    def _model_for(self, model: nn.Module | None, problem: str, *, fix: str) -> nn.Module:
        """The model that was given, or that of the trace."""
        model = self.record.model if model is None and self.record is not None else model
        if not isinstance(model, nn.Module):
            raise PlanError(problem if model is None else f"The model is a {type(model).__name__}.", fix=fix)
        return model

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON data; everything but the tape."""
        return plan_to_json(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Plan:
        """The plan that :meth:`to_json` wrote.

        Raises:
            PlanError: ``data`` is not a plan, or of a version that this package does not know.
        """
        return read_plan(data, Plan)


def _lookup(plan: Plan, name: str) -> Assignment | None:
    return plan.parameters.get(name) or plan.buffers.get(name)
