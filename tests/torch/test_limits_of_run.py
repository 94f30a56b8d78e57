"""Two limits that models share with `run`: weights whose scale a norm hides, and the saturated share of an ELU."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch_cases import rows  # noqa: E402

from initprobe.torch import probe  # noqa: E402
from initprobe.torch.verdict.rulebook import RULEBOOK  # noqa: E402


def above_info(result):
    return [finding for finding in result.diagnosis if finding.severity != "info"]


def normed(std, norm=nn.LayerNorm, act=nn.ReLU, first="norm"):
    """Three layers, each with a norm before or after its activation; W of the first two has this std."""
    torch.manual_seed(0)
    pairs = [(norm(64), act()) if first == "norm" else (act(), norm(64)) for _ in range(3)]
    model = nn.Sequential(*[part for pair in pairs for part in (nn.Linear(64, 64), *pair)], nn.Linear(64, 4))
    for place in (0, 3):
        nn.init.normal_(model[place].weight, std=std)
    return model


def oversized(model, x=None):
    result = probe(model, rows(32, 64) if x is None else x, threads=1)
    return [finding for finding in above_info(result) if finding.rule == "oversized-weights"]


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.BatchNorm1d])
@pytest.mark.parametrize("first", ["norm", "activation"])
def test_weights_that_a_norm_hides_and_no_step_changes(norm, first):
    model = normed(1e10, norm, first=first)
    (finding,) = above_info(probe(model, rows(32, 64), threads=1))
    assert (finding.rule, finding.module, len(finding.elsewhere)) == ("oversized-weights", "0", 1)
    assert finding.cause == RULEBOOK["oversized-weights"].meaning
    exec(finding.fix, {"model": model, "nn": nn})
    assert probe(model, rows(32, 64), threads=1).healthy


def test_the_limit_of_oversized_weights_is_that_of_run():
    """64 x std^2 against 1e4. With std 1 the limit is reached from a fan_in of 10,000 on."""
    wide = nn.Sequential(nn.Linear(16_384, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 4))
    nn.init.normal_(wide[0].weight)
    assert oversized(wide, rows(8, 16_384))
    assert not oversized(normed(12)) and oversized(normed(13))


def test_large_weights_that_no_norm_hides_or_no_step_moves_are_not_oversized():
    frozen = normed(1e3)
    frozen.requires_grad_(False)[-1].requires_grad_(True)
    assert not oversized(frozen)
    assert not oversized(normed(1e3, nn.BatchNorm1d).eval())
    assert not oversized(normed(1e3, act=nn.Tanh, first="activation"))  # saturated: the norm does not see the scale


def test_a_weight_that_is_used_without_a_norm_too_is_not_hidden():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.norm, self.head = nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 4)
            nn.init.normal_(self.inner.weight, std=1e3)

        def forward(self, x):
            return self.head(self.norm(self.inner(x)) + self.inner(x))

    assert not oversized(Shared())


@pytest.mark.parametrize("act", [nn.ELU, nn.SELU, nn.CELU, nn.Softplus, nn.Tanh])
def test_half_of_an_elu_may_be_flat(act):
    """As for `run`: 75% where the lower end alone is flat. 16 of 24 units are at -20, the others at 0."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 24), act(), nn.Linear(24, 4))
    for units, is_saturated in ((16, act is nn.Tanh), (20, True)):
        with torch.no_grad():
            model[0].bias.zero_()[:units] = -20
        rules = {finding.rule for finding in above_info(probe(model, rows(32, 64), threads=1))}
        assert ("saturated" in rules) == is_saturated, (units, rules)
