"""Splines of Kolmogorov-Arnold networks, beside the definition of B-splines."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from scipy.interpolate import BSpline
from torch import nn

import initcfg
from initcfg._rules.initializers.splines import spline_values
from initcfg.errors import InitcfgError
from initcfg.values import Uniform


@pytest.mark.parametrize(("grid", "order"), [(5, 3), (3, 2), (8, 1)])
def test_their_values_are_those_of_b_splines(grid: int, order: int) -> None:
    knots = [float(each) for each in range(-order, grid + order + 1)]
    ours = spline_values(grid, order)
    for at in range(grid + order):
        spline = BSpline.basis_element(knots[at : at + order + 2], extrapolate=False)
        for knot in range(grid + 1):
            expected = float(spline(float(knot)))
            assert ours[knot, at] == pytest.approx(0.0 if expected != expected else expected, abs=1e-12)


class Layer(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base_weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.spline_weight = nn.Parameter(torch.zeros(outputs, inputs, 8))
        self.spline_scaler = nn.Parameter(torch.zeros(outputs, inputs))


def test_a_network_has_noise_at_its_knots() -> None:
    model = nn.Sequential(Layer(20, 30), Layer(30, 40))
    plan = initcfg.plan(model, dict(type="KAN"))
    assert plan["0.base_weight"].value == Uniform(pytest.approx(-(20**-0.5)), pytest.approx(20**-0.5))
    assert plan["1.spline_scaler"].value == Uniform(pytest.approx(-(30**-0.5)), pytest.approx(30**-0.5))
    plan.apply(model, seed=0)
    values = torch.from_numpy(spline_values(5, 3)).float()
    for layer in model:
        noise = layer.spline_weight.detach() @ values.T
        assert noise.abs().max() <= 0.01 + 1e-6
        assert stats.kstest(noise.flatten().numpy(), stats.uniform(-0.01, 0.02).cdf).pvalue > 1e-3
        # As efficient-kan: the solution of least squares of that noise.
        solved = torch.linalg.lstsq(values.expand(20, -1, -1), noise[:20].transpose(1, 2)).solution
        assert torch.allclose(solved.transpose(1, 2), layer.spline_weight[:20].detach(), atol=1e-6)


def test_another_grid_is_told() -> None:
    with pytest.raises(InitcfgError, match="5 \\+ 3 coefficients"):
        initcfg.plan(nn.Conv1d(4, 4, 7), dict(type="SplineNoise", param="weight"))
