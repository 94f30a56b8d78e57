"""What single operations do to normal entries: closed forms beside simulations, and the rules of theory beside both."""

import pytest

torch = pytest.importorskip("torch")

from truths import gelu_mean, truths  # noqa: E402

DRAWS = 16
SDS = 5  # of the estimator, its standard deviation from the draws themselves


def assert_near(values, truth, slack):
    """The mean of independent draws is the truth, within 5 standard deviations and the error of the closed form."""
    error = (float(values.mean()) - truth) / truth
    spread = float(values.std()) / len(values) ** 0.5 / truth
    assert abs(error) < SDS * spread + slack + 1e-5, f"{values.mean():.5f}, in theory {truth:.5f}"


@pytest.mark.parametrize("truth", truths(), ids=lambda truth: truth.name)
def test_closed_forms_are_what_torch_computes(truth):
    torch.manual_seed(1)  # for dropout
    squares, gradients = truth.simulated(DRAWS, torch.Generator().manual_seed(0))
    if truth.square is not None:
        assert_near(squares, truth.square, truth.slack)
    if truth.gradient is not None:
        assert_near(gradients, truth.gradient, truth.slack)


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (1.0, 0.5), (-1.0, 2.0)])
def test_mean_of_gelu_away_from_zero(mean, variance):
    x = mean + variance**0.5 * torch.randn(24, 4_000, generator=torch.Generator().manual_seed(0))
    means = torch.nn.functional.gelu(x).double().mean(1)
    assert_near(means, gelu_mean(mean, variance), 0.0)
