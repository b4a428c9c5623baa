"""The commands on weights: ``init`` writes them, ``inspect``, ``verify`` and ``diff`` look at them."""

from __future__ import annotations

from typing import Any

import click

from initcfg._api.command.options import (
    FULL,
    JSON,
    NO_PYTHON,
    PATH,
    UNTRUSTED,
    Request,
    takes_config_or_none,
    takes_page,
)
from initcfg._api.command.terminal import Command, answer, launched_rank


@click.command(cls=Command, epilog="Example:  initcfg init retinanet.py -o weights.safetensors --seed 0")
@takes_config_or_none
@click.option(
    "--plan", "plan_file", metavar="FILE", type=PATH, help="Initialize from a saved plan, without the config."
)
@click.option(
    "--ledger",
    "ledger_file",
    metavar="FILE",
    type=PATH,
    help="Make again what a ledger says was made, with its seed: a .ledger.json, or weights that carry one.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=PATH,
    help="File to write (.safetensors, .pth, .pt), or a folder, for a checkpoint of any size in shards.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**64 - 1), help="Integer in [0, 2^64); drawn at random if not given."
)
@click.option(
    "--rng",
    type=click.Choice(["stream", "torch"]),
    default="stream",
    show_default=True,
    help="stream: values depend on seed, name and index alone. torch: its generator, draw by draw.",
)
@click.option(
    "--shard-size", metavar="SIZE", help="Of a folder: bytes of tensors a file: 5GB (default), 2GiB."
)
@click.option("--format", type=click.Choice(["safetensors", "dcp"]), help="Of a folder.")
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float16", "float32"]),
    help="Of a folder: the type of floating-point tensors; their own if not given.",
)
@click.option("--dcp-key", metavar="KEY", help="Of --format dcp: put the weights under this key: model.")
@click.option(
    "--threads", type=int, metavar="N", help="How many threads compute; -1 leaves one core to others."
)
@click.option("--overwrite", is_flag=True, help="Of a folder: replace the checkpoint that is in it.")
@click.option(
    "--no-check", is_flag=True, help="Of a folder: trust files that an earlier run finished, unread."
)
def init(
    request: Request,
    as_json: bool,
    plan_file: str | None,
    ledger_file: str | None,
    output: str,
    seed: int | None,
    rng: str,
    threads: int | None,
    **of_folder: Any,
) -> None:
    """Build the model in CONFIG, initialize it, and write its weights.

    The ledger (what was written, by which rule, with which seed) goes beside the weights as JSON, and
    into the metadata of a safetensors file. Into a folder the weights are streamed, piece by piece: the model
    may be larger than memory, and a run that was interrupted goes on where it stopped.

    With --plan or --ledger there is no config: every tensor is made from what that file says.
    """
    from initcfg._api.command.initializing import (
        Beginning,
        initialized,
        streamed,
        streamed_json,
        streamed_views,
    )
    from initcfg._apply import is_folder
    from initcfg._apply.streaming import Options
    from initcfg._stream.writing import limited_threads

    given = {name: item for name, item in of_folder.items() if item not in (None, False)}
    given |= {"checked": False} if given.pop("no_check", False) else {}
    begin = Beginning.of(request, plan_file, ledger_file)
    if not is_folder(output, asked=bool(given)):
        with limited_threads(threads):
            data, views = initialized(begin, output, seed=seed, rng=rng)
        answer(as_json, lambda: data, views)
        return
    saved = streamed(begin, output, seed=seed, options=Options(rng=rng, threads=threads, **given))
    if launched_rank() == 0:
        # The first speaks for all.
        answer(as_json, lambda: streamed_json(saved), lambda: [*streamed_views(saved), *begin.left_out()])


@click.command(cls=Command, epilog="Example:  initcfg diff config.py weights.safetensors")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option("--set-a", multiple=True, metavar="KEY=VALUE", help="Change the config A.")
@click.option("--set-b", multiple=True, metavar="KEY=VALUE", help="Change the config B.")
@click.option("--values", is_flag=True, help="Of two checkpoints: compare the numbers, tensor by tensor.")
@NO_PYTHON
@UNTRUSTED
@JSON
@FULL
@takes_page
def diff(
    a: str,
    b: str,
    set_a: tuple[str, ...],
    set_b: tuple[str, ...],
    no_python: bool,
    untrusted: bool,
    as_json: bool,
    full: bool,
    html_file: str | None,
    lang: str,
    values: bool,
) -> int:
    """Show what differs between A and B.

    Each is a config, a builder, a saved plan, or a ledger: a .ledger.json file, or the weights that it
    belongs to. Of two checkpoints the numbers are compared with --values, or if one has no ledger. Ends with
    1 if anything differs.
    """
    from initcfg._api.command.planning import check_page, compared, difference_view

    check_page(html_file)
    sides = (Request(a, set_a, no_python, untrusted), Request(b, set_b, no_python, untrusted))
    found = compared(*sides, values=values)
    if html_file is not None:
        found.to_html(html_file, lang)
    answer(as_json, found.to_json, lambda: [difference_view(found, full=full)])
    return 0 if found.same else 1


@click.command(cls=Command, epilog="Example:  initcfg inspect retinanet_r50.pth")
@click.argument("checkpoint", type=PATH)
@click.option("--part", metavar="KEY", help="Which set of weights, where there are several: state_dict_ema.")
@click.option("--values", is_flag=True, help="Read the numbers: min, max, std, zeros, NaN.")
@JSON
@FULL
def inspect(checkpoint: str, part: str | None, values: bool, as_json: bool, full: bool) -> None:
    """Show what is in CHECKPOINT: keys, shapes, types. No number is read, unless asked for; no code is run.

    A file of safetensors or torch.save, an index of shards, or a folder; also by an address: hf://, https://.
    """
    from initcfg._api.weights import inspect as inspected
    from initcfg._api.weights import inspection_view

    found = inspected(checkpoint, values=values, part=part)
    answer(as_json, found.to_json, lambda: [inspection_view(found, full=full)])


@click.command(cls=Command, epilog="Example:  initcfg verify weights.safetensors")
@click.argument("checkpoint", type=PATH)
@click.option("--plan", "plan_file", type=PATH, help="A plan (JSON), or a ledger.")
@click.option("--config", type=PATH, help="A config or builder, to be planned.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change that config.")
@NO_PYTHON
@UNTRUSTED
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="The seed; by default that of the ledger.")
@click.option("--part", metavar="KEY", help="Which set of weights, where there are several.")
@click.option(
    "--trust-ledger",
    is_flag=True,
    help="Compute the formulas of CHECKPOINT's own ledger and fetch its sources: its writer chose them.",
)
@JSON
@FULL
def verify(
    checkpoint: str,
    config: str | None,
    overrides: tuple[str, ...],
    no_python: bool,
    untrusted: bool,
    as_json: bool,
    full: bool,
    **asked: Any,
) -> int:
    """Say which tensors of CHECKPOINT still hold what they began with, and by how much others changed.

    Values are made again from seed and name; what was loaded is compared with its source. Without --plan and
    --config, the ledger that the checkpoint carries, or that lies beside it, says what was planned, as far as
    it is plain data. Ends with 1 if anything changed or is not finite, 3 if some could not be checked.
    """
    from initcfg._api.command.verifying import verified_checkpoint
    from initcfg._apply import verification_view

    request = Request(config, overrides, no_python, untrusted) if config is not None else None
    found = verified_checkpoint(checkpoint, request=request, **asked)
    answer(as_json, found.to_json, lambda: [verification_view(found, full=full)])
    return found.exit_code
