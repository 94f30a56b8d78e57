"""Long sequences by group of places, beside the same sums over all places; and what users' long sequences give."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from initprobe.torch import probe  # noqa: E402
from initprobe.torch.theory.groups import MOST_PLACES, group_of, group_sizes  # noqa: E402
from initprobe.torch.theory.moments import shares  # noqa: E402
from initprobe.torch.theory.place_maps import PlaceMap  # noqa: E402
from initprobe.torch.theory.places import blocks, from_blocks, matrices, moved  # noqa: E402

LONG = MOST_PLACES + 57
WIDTH = 256


def by_place(held, size):
    """All pairs of places, from blocks."""
    return matrices(from_blocks(held, size, 0), size, 0)


def random_blocks(size, level=None):
    """Blocks of a long axis; with one `level` at all pairs of different places, or any."""
    rng, count = np.random.default_rng(0), len(group_sizes(size))
    other = rng.random((count, count)) if level is None else np.full((count, count), level)
    same = 1 + rng.random(count)
    held = np.concatenate([(other + other.T) / 2, same[None]])
    alone = np.flatnonzero(group_sizes(size) == 1)
    held[alone, alone] = same[alone]
    return held


def causal(size):
    """The mean over all places up to each."""
    return np.tri(size) / np.arange(1, size + 1)[:, None]


@pytest.mark.parametrize("size", [2, MOST_PLACES, MOST_PLACES + 1, 197, 2049])
def test_groups_cover_an_axis_in_order(size):
    sizes, group = group_sizes(size), group_of(size)
    assert sizes.sum() == size and (np.diff(group) >= 0).all() and (np.bincount(group) == sizes).all()
    assert sizes[0] == sizes[-1] == 1


def test_blocks_keep_all_pairs_and_their_average():
    held = random_blocks(LONG)
    pairs = from_blocks(held, LONG, 0)
    np.testing.assert_allclose(blocks(pairs, LONG, 0), held)
    assert np.isclose(pairs @ shares(LONG, len(pairs)), by_place(held, LONG).mean())
    assert np.isclose(pairs[0], np.trace(by_place(held, LONG)) / LONG)


@pytest.mark.parametrize("turned", [False, True])
def test_a_map_of_groups_is_that_of_all_places(turned):
    """Exactly, where different places have the same in common."""
    matrix = causal(LONG).T if turned else causal(LONG)
    held = random_blocks(LONG, 0.0 if turned else 0.5)
    every = matrix @ by_place(held, LONG) @ matrix.T
    expected = blocks(np.append(np.trace(every) / LONG, every.ravel()), LONG, 0)
    np.testing.assert_allclose(PlaceMap(matrix).mapped(held), expected, rtol=0.02, atol=1e-3)


def test_places_that_are_taken_keep_their_pairs():
    held = random_blocks(LONG)
    taken = moved(held, np.arange(1, LONG), LONG)
    every = by_place(held, LONG)[1:, 1:]
    np.testing.assert_allclose(taken, blocks(np.append(np.trace(every), every.ravel()), LONG - 1, 0), atol=1e-9)


class Attended(nn.Module):
    """Blocks of multi-head attention and a read-out of one token, of all, or of their mean."""

    def __init__(self, causal, read):
        super().__init__()
        self.causal, self.read = causal, read
        self.packed = nn.ModuleList(nn.Linear(WIDTH, 3 * WIDTH) for _ in range(2))
        self.outs = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(3))
        self.head = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        for packed, out, norm in zip(self.packed, self.outs, self.norms, strict=False):
            parts = packed(norm(x)).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=self.causal)
            x = x + out(mixed.transpose(1, 2).flatten(2))
        return self.head(self.read(self.norms[-1](x)))


READ = {"class token": lambda x: x[:, 0], "last token": lambda x: x[:, -1], "all tokens": lambda x: x}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("read", READ)
def test_long_sequences_are_followed_back_to_their_first_layer(read, causal):
    """Of one token, theory was off by a factor of 10 to 400 where all places of a long sequence counted as alike."""
    if causal and read == "class token":
        pytest.skip("the first token sees itself only")
    torch.manual_seed(0)
    model = Attended(causal, READ[read])
    for layer in probe(model, torch.randn(4, 100, WIDTH), try_fixes=False, threads=1).layers:
        for column in (layer.model_theory.local, layer.model_theory.end_to_end):
            assert abs(column.output_gradient.z) < 5 and column.output_gradient.log_sd < 0.3, layer.name
