"""What single operations do to normal entries: closed forms beside simulations, and the rules of theory beside both."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from truths import gelu_mean, truths  # noqa: E402

from initprobe.config.thresholds import Thresholds  # noqa: E402
from initprobe.engine.threads import workers  # noqa: E402
from initprobe.torch.arguments import Arguments  # noqa: E402
from initprobe.torch.inventory import inventory  # noqa: E402
from initprobe.torch.passes import recorded  # noqa: E402
from initprobe.torch.theory.follow import Backward, Forward  # noqa: E402
from initprobe.torch.theory.moments import NoRule  # noqa: E402

# The queries of these are constants.
WITHOUT_RULE = {"equal attention, correlation 0.0", "equal attention, correlation 0.5", "causal attention"}
RULES_ERROR = 0.03  # what the rules leave out in these cases
DRAWS = 16
SDS = 5  # of the estimator, its standard deviation from the draws themselves


def assert_near(values, truth, slack):
    """The mean of independent draws is the truth, within 5 standard deviations and the error of the closed form."""
    error = (float(values.mean()) - truth) / truth
    spread = float(values.std()) / len(values) ** 0.5 / truth
    assert abs(error) < SDS * spread + slack + 1e-5, f"{values.mean():.5f}, in theory {truth:.5f}"


@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (1.0, 0.5), (-1.0, 2.0)])
def test_mean_of_gelu_away_from_zero(mean, variance):
    x = mean + variance**0.5 * torch.randn(24, 4_000, generator=torch.Generator().manual_seed(0))
    means = torch.nn.functional.gelu(x).double().mean(1)
    assert_near(means, gelu_mean(mean, variance), 0.0)


class Single(nn.Module):
    """One operation as a model."""

    def __init__(self, operation):
        super().__init__()
        self.operation = operation

    def forward(self, x):
        return self.operation(x)


def by_the_rules(truth, x):
    """What the rules make of an input: the mean square of the output, and of the gradient of the input."""
    model = Single(truth.operation)
    arguments = Arguments(inventory(model), x, None, 1, None, 0, Thresholds())
    with workers(1) as pool:
        trace = recorded(arguments, pool)[0].trace
    forward = Forward(trace)
    squares = forward.of(trace.results[0]).square
    return squares, Backward(trace, forward, {}).of(trace.nodes[0]).square


@pytest.mark.parametrize("truth", truths(), ids=lambda truth: truth.name)
def test_closed_forms_are_what_torch_computes_and_what_the_rules_give(truth):
    """The rules start from the moments of one input, so within 5 standard deviations of one draw."""
    torch.manual_seed(1)  # for dropout
    generator = torch.Generator().manual_seed(0)
    simulated = truth.simulated(DRAWS, generator)
    for draws, expected in zip(simulated, (truth.square, truth.gradient), strict=True):
        assert_near(draws, expected, truth.slack)
    if truth.name in WITHOUT_RULE:
        with pytest.raises(NoRule):
            by_the_rules(truth, truth.given(generator))
        return
    predicted = by_the_rules(truth, truth.given(generator))
    for value, draws, expected in zip(predicted, simulated, (truth.square, truth.gradient), strict=True):
        assert abs(value - expected) < SDS * float(draws.std()) + RULES_ERROR * expected
