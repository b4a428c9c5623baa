"""Schemes of encoders, and of encoders with decoders: T5, Switch, DeepNorm, SubLN, T-Fixup, DS-Init."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

from torch import nn

from initcfg._model import find_roles
from initcfg._rules.initializers import INITIALIZERS, one_of, positive, whole_number
from initcfg._rules.schemes.language import LINEAR, NORMS, normal
from initcfg._rules.schemes.scheme import Scheme
from initcfg.errors import ArgumentError, InitcfgError, RoleError, plural

# Of torch's attention, whose queries, keys and values are one matrix.
_FUSED = "FusedXavier"
_QUERIES = ["attn_q", "attn_k", "attn_v"]
_SCALED = ["attn_v", "attn_out", "mlp_in", "mlp_gate", "mlp_out"]


@INITIALIZERS.register_module(name="T5")
class T5(Scheme):
    """T5: every matrix N(0, 1 / fan_in), queries by √d_kv smaller, embeddings and an untied head N(0, 1).

    Attention does not divide by √d_kv, since its queries start out so much smaller. The position bias is
    N(0, 1 / d). From "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer",
    Raffel et al. 2020 (1910.10683). Held to tensorflow/mesh, transformer/attention.py, and transformers,
    modeling_t5.py.

    Args:
        factor: On all of them.
        d_kv: Length of a head's key; by default ``key_value_proj_dim`` of the model's attention.

    Example:
        >>> from initcfg._rules.schemes.encoder_decoders import T5
        >>> T5(d_kv=64).recipe()[-1]["scale"]
        '1/sqrt(fan_in*64)'
    """

    family = "encoders and decoders"
    paper = "Raffel et al. 2020"
    needs = ("attn_q",)

    def __init__(self, factor: float = 1.0, d_kv: int | None = None) -> None:
        self.factor = positive("factor", factor)
        self.d_kv = None if d_kv is None else whole_number("d_kv", d_kv)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        if self.d_kv is None:
            raise ArgumentError("T5 needs d_kv, the length of a head's key.", fix="Give d_kv=64.")
        drawn = dict(type="Normal", std=self.factor)
        return [
            dict(drawn, layer=LINEAR, scale="1/sqrt(fan_in)"),
            dict(drawn, layer="Embedding"),
            dict(type="Constant", layer=["T5LayerNorm", *NORMS], val=self.factor, bias=0),
            dict(drawn, param="*relative_attention_bias.weight", scale="1/sqrt(width)"),
            dict(drawn, role="head"),
            dict(drawn, role="attn_q", scale=f"1/sqrt(fan_in*{self.d_kv})"),
        ]

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe_for`."""
        if self.d_kv is None:
            found = (getattr(module, "key_value_proj_dim", None) for module in owner.modules())
            d_kv = next((each for each in found if isinstance(each, int) and each > 0), None)
            return T5(self.factor, d_kv).recipe() if d_kv else self.recipe()
        return self.recipe()


@INITIALIZERS.register_module(name="Switch")
class Switch(Scheme):
    """Switch Transformers: ``T5``, routers N(0, 1), and experts by one over the root of their fan_in.

    transformers gives the experts' outputs 1 / √d, with the width d, and not their fan_in:
    ``of="transformers"``. From "Switch Transformers", Fedus, Zoph & Shazeer 2021 (2101.03961). Held to
    transformers, modeling_switch_transformers.py.

    Args:
        factor: On all of them.
        d_kv: As for ``T5``.
        of: ``"paper"`` or ``"transformers"``.

    Example:
        >>> from initcfg._rules.schemes.encoder_decoders import Switch
        >>> Switch(d_kv=64, of="transformers").recipe()[-1]["scale"]
        '1/sqrt(fan_out)'
    """

    family = "encoders and decoders"
    paper = "Fedus et al. 2021"
    needs = ("attn_q",)

    def __init__(
        self, factor: float = 1.0, d_kv: int | None = None, of: Literal["paper", "transformers"] = "paper"
    ) -> None:
        self.factor = positive("factor", factor)
        self.d_kv = None if d_kv is None else whole_number("d_kv", d_kv)
        self.of = one_of("of", of, ("paper", "transformers"))

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        given = {} if self.d_kv is None else {"d_kv": self.d_kv}
        drawn = dict(type="Normal", std=self.factor)
        # Of an expert, the outputs are as many as the stream is wide.
        fan = "fan_in" if self.of == "paper" else "fan_out"
        out = ["*experts.expert_*.wo.weight"]
        return [
            dict(type="T5", factor=self.factor, **given),
            dict(type="Constant", layer="SwitchTransformersLayerNorm", val=self.factor),
            dict(drawn, role="router"),
            dict(drawn, param="*router.classifier.weight"),
            dict(drawn, param=out, scale=f"1/sqrt({fan})"),
        ]


class _ByDepth(Scheme):
    """What multiplies the values, the output and the MLP of each block by a number that depends on depth."""

    family = "encoders and decoders"
    needs: ClassVar[tuple[str, ...]] = ("attn_v",)

    def __init__(
        self,
        kind: Literal["encoder", "decoder", "encoder-decoder"] = "encoder",
        encoder_layers: int | None = None,
        decoder_layers: int | None = None,
    ) -> None:
        self.kind = one_of("kind", kind, ("encoder", "decoder", "encoder-decoder"))
        given = {"encoder_layers": encoder_layers, "decoder_layers": decoder_layers}
        for name, each in given.items():
            setattr(self, name, None if each is None else whole_number(name, each))
        self._given = given

    def factors(self) -> dict[str, str]:
        """By a glob over parameters: what multiplies them."""
        raise NotImplementedError

    def depth(self) -> str:
        """The number of blocks, where there is one stack."""
        layers = self.encoder_layers if self.kind == "encoder" else self.decoder_layers  # type: ignore[attr-defined]
        return "layers" if layers is None else str(layers)

    def recipe(self) -> list[dict[str, Any]]:
        """Xavier's uniform, queries, keys and values by 1 / √2, as if they were fused; then the factors."""
        self._check_blocks("")
        drawn = dict(type="Xavier", distribution="uniform")
        fused = dict(drawn, gain=2**-0.5)
        rules = [
            dict(drawn, layer=LINEAR),
            dict(type="Constant", layer=NORMS, val=1, bias=0),
            dict(fused, role=_QUERIES),
        ]
        for glob, factor in self.factors().items():
            for role in _SCALED:
                base = fused if role == "attn_v" else drawn
                rules.append(dict(base, role=role, param=glob, scale=self.of_role(role, factor)))
            if not self.needs:
                scale = self.of_role("attn_v", factor)
                rules.append(dict(type=_FUSED, gain=2**-0.5, role="attn_qkv", param=glob, scale=scale))
        return rules

    def recipe_for(self, owner: nn.Module) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe_for`: names tell an encoder from a decoder, or nothing would be scaled."""
        self._find_blocks(owner)
        if any(isinstance(module, nn.MultiheadAttention) for module in owner.modules()):
            # Its values are the last third, which a rule can mean.
            self.needs = ()  # type: ignore[misc]
        names = [name for name, _ in owner.named_parameters(remove_duplicate=False)]
        for glob in self.factors():
            if not any(fnmatchcase(name, glob) for name in names):
                raise RoleError(
                    f"{type(self).__name__} tells the weights of encoder and decoder apart by their names, "
                    f"and no parameter of {type(owner).__name__} has one like {glob!r}.",
                    fix="Call the two parts of the model encoder and decoder.",
                )
        return self.recipe()

    def _find_blocks(self, owner: nn.Module) -> None:
        """The blocks of encoder and decoder: those of the stacks of these names, which no number may deny."""
        if self.kind != "encoder-decoder":
            return
        try:
            roles = find_roles(owner, example=self.example, declared=self.declared)
        except InitcfgError as error:
            self._check_blocks(f" {error.problem}")
            return
        guessed = any(each.how == "guessed" for each in roles.tensors.values())
        for key, given in self._given.items():
            glob = f"*{key.removesuffix('_layers')}.*"
            found = {
                layers
                for name, each in roles.tensors.items()
                if each.layer is not None and (layers := each.layers) is not None and fnmatchcase(name, glob)
            }
            if len(found) != 1 or len(roles.stacks) != 2:
                continue
            if given is None:
                setattr(self, key, found.pop())
            elif given not in found and not guessed:
                half = f"the {key.removesuffix('_layers')} of {type(owner).__name__}"
                raise ArgumentError(
                    f"{type(self).__name__} was given {key}={given}, and {half} has "
                    f"{plural(found.pop(), 'block')}.",
                    fix=f"Leave {key} out.",
                )
        stacks = ", ".join(str(each.layers or 0) for each in roles.stacks) or "none"
        self._check_blocks(f" Stacks of blocks that were found: {stacks}.")

    def _check_blocks(self, found: str) -> None:
        """Refuse an encoder with a decoder without the blocks of each."""
        if self.kind == "encoder-decoder" and None in (self.encoder_layers, self.decoder_layers):  # type: ignore[attr-defined]
            raise ArgumentError(
                f"{type(self).__name__} of an encoder with a decoder needs the blocks of each.{found}",
                fix="Give encoder_layers= and decoder_layers=; or call the two parts encoder and decoder, "
                "and let roles find their blocks: example=..., or roles=dict(blocks=['encoder.blocks', "
                "'decoder.blocks']).",
            )

    def of_role(self, role: str, factor: str) -> str:
        """The factor for one role."""
        return factor


@INITIALIZERS.register_module(name="DeepNorm")
class DeepNorm(_ByDepth):
    """DeepNet's: Xavier, and values, outputs and MLPs divided by (8·layers)^¼; the stream times α in forward.

    An encoder with a decoder: the encoder's by 1.15 / (L_e⁴·L_d)^(1/16), negative powers; the decoder's
    divided by (12·L_d)^¼. With norm(α·x + f(x)), α = (2·layers)^¼ (encoder of two stacks:
    0.81·(L_e⁴·L_d)^(1/16), decoder (3·L_d)^¼), post-norm transformers of 1,000 layers train. From "DeepNet",
    Wang et al. 2022 (2203.00555). Held to microsoft/torchscale, encoder.py, decoder.py and
    multihead_attention.py.

    Args:
        kind: ``"encoder"``, ``"decoder"`` or ``"encoder-decoder"``.
        encoder_layers: Blocks of the encoder; by default what roles say.
        decoder_layers: Blocks of the decoder, likewise.

    Example:
        >>> from initcfg._rules.schemes.encoder_decoders import DeepNorm
        >>> DeepNorm(encoder_layers=12).factors()
        {'*': '(8*12)**(-1/4)'}
    """

    paper = "Wang et al. 2022"
    forward = "the model must compute norm(α·x + f(x)), with α = (2·layers)^¼ where there is one stack"

    def forward_with(self, layers: int | None) -> str | None:
        """See :meth:`Scheme.forward_with`."""
        encoder, decoder = self.encoder_layers, self.decoder_layers  # type: ignore[attr-defined]
        told = "the model must compute norm(α·x + f(x)), with α ="
        if self.kind == "encoder-decoder":
            one, other = 0.81 * (encoder**4 * decoder) ** (1 / 16), (3 * decoder) ** 0.25
            return f"{told} {one:.4g} in the encoder and {other:.4g} in the decoder"
        known = (encoder if self.kind == "encoder" else decoder) or layers
        return self.forward if known is None else f"{told} (2·{known})^¼ = {(2 * known) ** 0.25:.4g}"

    def factors(self) -> dict[str, str]:
        """See the base."""
        if self.kind != "encoder-decoder":
            return {"*": f"(8*{self.depth()})**(-1/4)"}
        encoder, decoder = self.encoder_layers, self.decoder_layers  # type: ignore[attr-defined]
        return {
            "*encoder.*": f"1.15/({encoder}**4*{decoder})**(1/16)",
            "*decoder.*": f"(12*{decoder})**(-1/4)",
        }


@INITIALIZERS.register_module(name="SubLN")
class SubLN(_ByDepth):
    """Magneto's: Xavier, and values, outputs and MLPs times √(ln(2·layers)).

    An encoder with a decoder: √(ln(3·L_d)·ln(2·L_e) / 3) and √(ln(3·L_d)). For blocks that have a norm
    before each output projection, too (sub-LayerNorm); from "Foundation Transformers", Wang et al. 2022
    (2210.06423). Held to microsoft/torchscale, encoder.py and decoder.py.

    Args:
        kind: ``"encoder"``, ``"decoder"`` or ``"encoder-decoder"``.
        encoder_layers: Blocks of the encoder; by default what roles say.
        decoder_layers: Blocks of the decoder, likewise.

    Example:
        >>> from initcfg._rules.schemes.encoder_decoders import SubLN
        >>> SubLN().factors()
        {'*': 'sqrt(log(2*layers))'}
    """

    paper = "Wang et al. 2022"
    forward = "each branch must have a norm before its output projection (sub-LayerNorm)"

    def factors(self) -> dict[str, str]:
        """See the base."""
        if self.kind != "encoder-decoder":
            return {"*": f"sqrt(log(2*{self.depth()}))"}
        encoder, decoder = self.encoder_layers, self.decoder_layers  # type: ignore[attr-defined]
        return {
            "*encoder.*": f"sqrt(log(3*{decoder})*log(2*{encoder})/3)",
            "*decoder.*": f"sqrt(log(3*{decoder}))",
        }


@INITIALIZERS.register_module(name="TFixup")
class TFixup(_ByDepth):
    """T-Fixup: no LayerNorm, no warm-up; an encoder's branches times 0.67·L^-¼, a decoder's (9·L)^-¼.

    Values have √2 besides, which undoes the 1 / √2 of fused queries, keys and values: so all of values,
    outputs and MLPs have Xavier's spread times the factor. Embeddings are N(0, 1 / width) times (9·L)^-¼.
    From "Improving Transformer Optimization Through Better Initialization", Huang et al. 2020. Held to
    layer6ai-labs/T-Fixup, transformer_layer.py.

    Args:
        kind: ``"encoder"``, ``"decoder"`` or ``"encoder-decoder"``.
        encoder_layers: Blocks of the encoder; by default what roles say.
        decoder_layers: Blocks of the decoder, likewise.

    Example:
        >>> from initcfg._rules.schemes.encoder_decoders import TFixup
        >>> TFixup("encoder-decoder", 6, 6).factors()
        {'*encoder.*': '0.67*6**(-1/4)', '*decoder.*': '(9*6)**(-1/4)'}
    """

    paper = "Huang et al. 2020"
    forward = "the model must have no LayerNorm, and training no warm-up"

    def factors(self) -> dict[str, str]:
        """See the base."""
        encoder, decoder = self.encoder_layers, self.decoder_layers  # type: ignore[attr-defined]
        if self.kind == "encoder-decoder":
            return {"*encoder.*": f"0.67*{encoder}**(-1/4)", "*decoder.*": f"(9*{decoder})**(-1/4)"}
        depth = self.depth()
        return {"*": f"0.67*{depth}**(-1/4)" if self.kind == "encoder" else f"(9*{depth})**(-1/4)"}

    def of_role(self, role: str, factor: str) -> str:
        """See the base."""
        return f"sqrt(2)*{factor}" if role == "attn_v" else factor

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        decoder = self.decoder_layers  # type: ignore[attr-defined]
        depth = self.depth() if decoder is None else str(decoder)
        return [
            *super().recipe(),
            normal(1, ["Embedding"], scale=f"(9*{depth})**(-1/4)/sqrt(fan_in)"),
        ]


@INITIALIZERS.register_module(name="DSInit")
class DSInit(Scheme):
    """Depth-scaled: Xavier's uniform bound divided by √(layer + 1) in each block.

    From "Improving Deep Transformer with Depth-Scaled Initialization and Merged Attention", Zhang, Titov &
    Sennrich 2019 (1908.11365), equation 9: the bound times α / √l. Their released code divides the variance
    by √l instead (bzhangGo/zero, models/transformer.py): ``of="code"``.

    Args:
        alpha: α of the paper.
        of: ``"paper"`` or ``"code"``.

    Example:
        >>> from initcfg._rules.schemes.encoder_decoders import DSInit
        >>> DSInit().recipe()[-1]["scale"]
        '1.0/sqrt(layer+1)'
    """

    family = "encoders and decoders"
    paper = "Zhang et al. 2019"
    needs = ("attn_out",)

    def __init__(self, alpha: float = 1.0, of: Literal["paper", "code"] = "paper") -> None:
        self.alpha = positive("alpha", alpha)
        self.of = one_of("of", of, ("paper", "code"))

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        drawn = dict(type="Xavier", distribution="uniform")
        root = "sqrt(layer+1)" if self.of == "paper" else "sqrt(sqrt(layer+1))"
        roles = ["attn_*", "mlp_*"]
        return [
            dict(drawn, layer=LINEAR),
            dict(type="Constant", layer=NORMS, val=1, bias=0),
            dict(drawn, role=roles, layer=LINEAR, scale=f"{self.alpha!r}/{root}"),
        ]
