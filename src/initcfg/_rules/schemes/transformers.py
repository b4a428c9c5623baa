"""Schemes of transformer language models."""

from __future__ import annotations

from typing import Any

from initcfg._rules.initializers import INITIALIZERS, standard_deviation
from initcfg._rules.schemes.language import LINEAR
from initcfg._rules.schemes.scheme import Scheme


@INITIALIZERS.register_module(name="GPT2")
class GPT2(Scheme):
    """GPT-2: all weights N(0, std²), those that end a residual branch N(0, (std / √(2·layers))²); biases 0.

    Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3.

    Args:
        std: Standard deviation, 0.02 in the paper's code.

    Example:
        >>> from initcfg._rules.schemes.transformers import GPT2
        >>> GPT2(std=0.02).recipe()[-1]
        {'type': 'Normal', 'role': 'residual_out', 'std': 0.02, 'scale': '1/sqrt(2*layers)'}
    """

    family = "language models"
    paper = "Radford et al. 2019"
    needs = ("residual_out",)

    def __init__(self, std: float = 0.02) -> None:
        self.std = standard_deviation(std)

    def recipe(self) -> list[dict[str, Any]]:
        """See :meth:`Scheme.recipe`."""
        return [
            dict(type="Normal", layer=[*LINEAR, "Embedding"], std=self.std),
            dict(type="Constant", layer=["LayerNorm", "RMSNorm"], val=1, bias=0),
            dict(type="Normal", role="residual_out", std=self.std, scale="1/sqrt(2*layers)"),
        ]
