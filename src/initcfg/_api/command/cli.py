"""The command ``initcfg``."""

from __future__ import annotations

from typing import Any

import click

from initcfg._api.command.options import (
    FULL,
    JSON,
    PATH,
    Request,
    completed_parameters,
    takes_config,
    takes_page,
    takes_target,
)
from initcfg._api.command.terminal import Group, answer
from initcfg._api.command.upkeep import check, completion, lock, schema
from initcfg._api.command.weights_commands import diff, init, inspect, verify
from initcfg._version import __version__
from initcfg.errors import line


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="initcfg")
def main() -> None:
    """Say in config how every weight of a PyTorch model starts, and see it before it happens.

    \b
    initcfg plan retinanet.py                      what every weight will be
    initcfg init retinanet.py -o weights.safetensors
    initcfg explain retinanet.py head.cls.bias     why one of them is what it is

    CONFIG is a config file, or a builder: timm:NAME, torchvision:NAME, hf:NAME, hf:CONFIG.json,
    mmdet:CONFIG, package.module:function.
    """


@main.command(epilog="Example:  initcfg plan retinanet.py --set model.backbone.depth=50")
@takes_config
@FULL
@takes_page
def plan(request: Request, as_json: bool, full: bool, html_file: str | None, lang: str) -> None:
    """Show what every weight of the model in CONFIG will be, and which rule says so."""
    from initcfg._api.command.planning import check_page, planned
    from initcfg._plan.report import plan_view

    check_page(html_file)
    _, made = planned(request)
    if html_file is not None:
        made.to_html(html_file, lang)
    answer(as_json, made.to_json, lambda: [plan_view(made, full=full)])


@main.command(epilog="Example:  initcfg explain retinanet.py backbone.layer1.0.bn3.weight")
@takes_config
@click.argument("parameter", shell_complete=completed_parameters)
def explain(request: Request, as_json: bool, parameter: str) -> None:
    """Tell the whole story of one PARAMETER of the model in CONFIG."""
    from initcfg._api.command.planning import planned
    from initcfg._plan.report import explain_text

    _, made = planned(request)
    text = explain_text(made, parameter)

    def data() -> dict[str, Any]:
        name, whole = made[parameter].name, made.to_json()
        found = whole["parameters"].get(name) or whole["buffers"][name]
        chain = [each["rule"] for each in found["shadowed"]] + [found["rule"]]
        rules = {where: whole["rules"].get(where) for where in chain if where}
        return {"name": name, **found, "rules": rules}

    answer(as_json, data, lambda: [text])


@main.command(epilog="Example:  initcfg roles hf:GPT2LMHeadModel")
@takes_target
@FULL
@click.option(
    "--example",
    metavar="FILE.py:FUNCTION",
    help="What gives an example of the model's input. Models of timm, torchvision, transformers need none.",
)
@click.option("--config", "as_config", is_flag=True, help="Print them as roles = dict(...), for a config.")
def roles(request: Request, as_json: bool, full: bool, example: str | None, as_config: bool) -> None:
    """Show what each weight of the model in TARGET does: embedding, attention, ends of residual branches.

    The model is run once without memory; what it does with each weight says its role. Rules and schemes
    select by role, and scale by the number of blocks.
    """
    from initcfg._api.command.roles import found_roles, roles_config, roles_json, roles_view

    model, found = found_roles(request, example)
    if as_config:
        answer(False, dict, lambda: [line(each) for each in roles_config(model, found)])
    else:
        answer(as_json, lambda: roles_json(found), lambda: [roles_view(model, found, full=full)])


@main.command(epilog="Example:  initcfg trace timm:vit_base_patch16_224 -o vit.yaml")
@takes_target
@FULL
@click.option("-o", "--output", type=PATH, help="Config to write: .yaml, .json, .toml or .py.")
@click.option(
    "--buffers", is_flag=True, help="Rules for masks, tables and the like too, which constructors make."
)
@click.option("--plan", "plan_file", type=PATH, help="JSON file to write the plan to.")
@click.option("--recognize", is_flag=True, help="Show only which schemes of the catalogue it amounts to.")
@click.option("--example", metavar="FILE.PY:FUNCTION", help="For --recognize: what gives the model's inputs.")
@takes_page
def trace(
    request: Request,
    as_json: bool,
    full: bool,
    output: str | None,
    buffers: bool,
    plan_file: str | None,
    recognize: bool,
    example: str | None,
    html_file: str | None,
    lang: str,
) -> None:
    """Show what the initialization code of TARGET does, as a plan.

    With -o, the builder and the rules that say the same are written as a config, to be changed and used.
    """
    from initcfg._api.command.planning import given_example
    from initcfg._api.command.tracing import traced_target
    from initcfg._plan.report import plan_view, symbolic

    made, files = traced_target(request, output, plan_file, buffers=buffers, page=html_file, lang=lang)
    if recognize:
        found = made.recognize(example=None if example is None else given_example(request, example))
        none = ["No scheme of the catalogue amounts to this."]
        answer(
            as_json,
            lambda: [each.to_json() for each in found],
            lambda: [*map(line, map(str, found))] or [*map(line, none)],
        )
        return

    def views() -> list[Any]:
        totals = line(symbolic(made), style="bold")
        return [totals, line(", ".join(files))] if files else [plan_view(made, full=full), totals]

    answer(as_json, made.to_json, views)


@main.command(epilog="Example:  initcfg shapes hf:LlamaForCausalLM --set hidden_size=64 -o shapes.json")
@takes_target
@click.option("-o", "--output", required=True, type=PATH, help="JSON file to write.")
@click.option(
    "--example", metavar="FILE.PY:FUNCTION", help="What gives the model's inputs, to see its heads."
)
def shapes(request: Request, as_json: bool, output: str, example: str | None) -> None:
    """Write the shapes of TARGET, built without memory: the base of a scheme such as MuP.

    A config of a wide model then says dict(type="MuP", base="shapes.json").
    """
    from initcfg._api.command.width_transfer import shapes_view, shapes_written

    found = shapes_written(request, output, example)
    answer(as_json, found.to_json, lambda: [shapes_view(found, output)])


@main.command(epilog="Example:  initcfg coordcheck net:net --vary width=64,128,256 --vary heads=4,8,16")
@takes_target
@FULL
@click.option(
    "--vary",
    multiple=True,
    metavar="KEY=A,B,...",
    help="An argument with its value at each width; those of the first option are the widths, and the first "
    "of them the base.",
)
@click.option(
    "--scheme",
    default="MuP",
    show_default=True,
    help="The scheme to check, also as dict(type=...); none: the rules of TARGET itself.",
)
@click.option("--std", type=float, default=0.02, show_default=True, help="Standard deviation in the base.")
@click.option("--lr", type=float, default=0.003, show_default=True, help="Learning rate in the base.")
@click.option("--optimizer", type=click.Choice(["adamw", "adam", "sgd"]), default="adamw", show_default=True)
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="Runs at each width."
)
@click.option(
    "--steps", type=click.IntRange(1, 1000), default=3, show_default=True, help="Steps of training."
)
@click.option("--example", metavar="FILE.PY:FUNCTION", help="A function that returns the model's inputs.")
@click.option("-o", "--picture", type=PATH, help="Picture to draw: .svg, .png or .pdf (needs matplotlib).")
def coordcheck(request: Request, as_json: bool, full: bool, vary: tuple[str, ...], **asked: Any) -> int:
    """Train TARGET a few steps at several widths, and say whether its activations keep their size.

    Of each module, the slope of log mean |output| on log width after the last step lies within ±0.1, if a
    scheme transfers from width to width. Ends with 1 if any does not.
    """
    from initcfg._api.command.width_transfer import coordinates_checked, coordinates_view

    found = coordinates_checked(request, vary, **asked)
    answer(as_json, found.to_json, lambda: coordinates_view(found, full=full))
    return 0 if found.passes else 1


@main.command(
    epilog="Example:  initcfg diagnose config.py --batch data.py:batch --lr 3e-4 --html report.html"
)
@takes_target
@click.option(
    "--batch",
    metavar="FILE.PY:FUNCTION",
    help="A function that returns a batch: a tensor, a dict, or inputs and targets. Else one is made up.",
)
@click.option(
    "--loss",
    metavar="FILE.PY:FUNCTION",
    help="f(model, batch) or f(output, targets); else the model's own loss, or cross entropy.",
)
@click.option(
    "--lr", type=float, help="Learning rate; without it 1e-3, and what depends on it is information."
)
@click.option("--optimizer", type=click.Choice(["adamw", "adam", "sgd"]), default="adamw", show_default=True)
@click.option(
    "--steps",
    type=click.IntRange(0, 1000),
    default=8,
    show_default=True,
    help="Steps of training on that batch, by a copy.",
)
@click.option(
    "--dtype",
    type=click.Choice(["bfloat16", "float16", "float32"]),
    help="The type that autocast computes in.",
)
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True)
@click.option(
    "--against", type=PATH, metavar="TARGET", help="Another initialization: both are trained, and compared."
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="With --against: from so many draws of each. Fewer than 5 tell nothing.",
)
@takes_page
@click.option("--strict", "strictly", is_flag=True, help="End with 1 for a warning, too.")
def diagnose(request: Request, as_json: bool, strictly: bool, **asked: Any) -> int:
    """Say what is wrong with how the model in TARGET starts, where, and which rule is to blame.

    The model is built and initialized, run on a batch, and a copy of it trained a few steps. Ends with 1 if
    an error is found.
    """
    from initcfg._api.command.diagnosing import Asked, compared, diagnosed
    from initcfg._api.command.diagnosis_view import comparison_views, diagnosis_views

    if asked["against"] is not None:
        both = compared(request, Asked(**asked))
        answer(as_json, both.to_json, lambda: comparison_views(both, asked["html_file"]))
        found = (both.here, both.there)
        return 1 if any(each.errors or (strictly and each.warnings) for each in found) else 0
    found = diagnosed(request, Asked(**asked))
    answer(as_json, found.to_json, lambda: diagnosis_views(found, asked["html_file"], request))
    return 1 if found.errors or (strictly and found.warnings) else 0


@main.command("list", epilog="Example:  initcfg list layers --like conv")
@click.argument(
    "what", type=click.Choice(["initializers", "layers", "models"]), default="initializers", required=False
)
@click.option("--schemes", is_flag=True, help="Schemes for whole models, each with its paper.")
@click.option("--like", default="", help="Only names that contain this, letter case aside.")
@click.option("--import", "imports", multiple=True, metavar="MODULE", help="Import a module first.")
@JSON
def list_(what: str, schemes: bool, like: str, imports: tuple[str, ...], as_json: bool) -> None:
    """List what a config can name: initializers (with their arguments), schemes, layers, or models."""
    from initcfg._api.command.listing import listed, listing_view

    entries = listed("schemes" if schemes else what, imports, like)
    answer(as_json, lambda: entries, lambda: [listing_view(entries)])


@main.command(epilog="Example:  initcfg doctor")
@JSON
def doctor(as_json: bool) -> int:
    """Say what draws the random numbers here, check that it is right, and time it.

    Ends with 1 if a number differs from the reference.
    """
    from initcfg._api.command.doctor import examination_text, examined

    found = examined()
    answer(as_json, lambda: found, lambda: [examination_text(found)])
    return 0 if found["healthy"] else 1


for _command in (init, inspect, verify, diff, lock, check, schema, completion):
    main.add_command(_command)
