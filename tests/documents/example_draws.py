"""Whether numbers are drawn from the distribution that a plan names."""

from __future__ import annotations

from scipy import stats


def distribution(value):
    """The scipy distribution that a Value names."""
    match value.kind, value.args:
        case "Normal", {"mean": mean, "std": std}:
            return stats.norm(mean, std)
        case "Uniform", {"a": low, "b": high}:
            return stats.uniform(low, high - low)
        case "TruncNormal", {"mean": mean, "std": std, "a": low, "b": high}:
            return stats.truncnorm((low - mean) / std, (high - mean) / std, mean, std)
    raise AssertionError(value)


def assert_drawn_from(tensor, value):
    numbers = tensor.detach().double().flatten().numpy()
    assert stats.kstest(numbers, distribution(value).cdf).pvalue > 1e-3
