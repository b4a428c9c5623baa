"""``initcfg verify``: from the words of the command to :func:`initcfg.verify`."""

from __future__ import annotations

from initcfg._api.command.planning import planned
from initcfg._api.command.request import Request
from initcfg._api.command.terminal import spinner
from initcfg._api.weights import verify, verify_planned
from initcfg._apply import Verification
from initcfg.errors import ConfigError


def verified_checkpoint(
    checkpoint: str,
    plan_file: str | None,
    request: Request | None,
    *,
    seed: int | None,
    part: str | None,
    trust_ledger: bool = False,
) -> Verification:
    """What became of the tensors of a checkpoint since they were initialized.

    What was planned is in a plan or a ledger, ``plan_file``; or a config says it, the ``request``; or the
    checkpoint's own ledger.
    """
    if plan_file is not None and request is not None:
        raise ConfigError("--plan and --config both say what was planned.", fix="Give one of them.")
    if request is not None:
        model, made = planned(request)
        with spinner("comparing"):
            return verify_planned(checkpoint, model, made, seed=seed, part=part)
    with spinner("comparing"):
        return verify(checkpoint, plan_file, seed=seed, part=part, trust_ledger=trust_ledger)
