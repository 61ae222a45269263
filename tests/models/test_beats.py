"""BEATs: by hand, and against figures of SpeechBrain 1.1.2's implementation of the same formulas."""

import math

import pytest
import torch

from timbrel.errors import ModelError
from timbrel.models.beats import BEATs, BEATsConfig, GatedAttention, distance_buckets

TINY = BEATsConfig(layers=3, width=8, inner_width=6, heads=2, patch_width=4, kernel=6, groups=2, buckets=8)


def by_rule(shape, start):
    return torch.sin(torch.arange(math.prod(shape), dtype=torch.float64) * 1.7 + start).view(shape).float()


def checkpoint(config):
    """Weights of a rule, by the published files' names: the convolution's gain and direction, and a copy of the bias in
    each layer."""
    state = BEATs(config).state_dict()
    direction = state.pop("encoder.pos_conv.0.weight")
    state |= {"encoder.pos_conv.0.weight_v": direction, "encoder.pos_conv.0.weight_g": direction[:1, :1]}
    state = {
        name: torch.sin(torch.arange(state[name].numel(), dtype=torch.float64) * 1.7 + k)
        .view(state[name].shape)
        .float()
        for k, name in enumerate(sorted(state))
    }
    bias = state["encoder.layers.0.self_attn.relative_attention_bias.weight"]
    copies = [f"encoder.layers.{k}.self_attn.relative_attention_bias.weight" for k in range(1, config.layers)]
    return state | dict.fromkeys(copies, bias) | {"predictor.weight": torch.zeros(3, config.width)}


def test_layers_4_8_and_12_of_the_published_depth():
    state = checkpoint(BEATsConfig(width=8, inner_width=6, heads=2, patch_width=4, kernel=6, groups=2, buckets=8))
    network = BEATs.from_state_dict(state)
    assert network.config.layers == 12
    states = network(torch.randn(2, 100, 128))  # 6 moments of 8 patches, and 4 frames that no patch has
    assert [states[k - 1].shape for k in (4, 8, 12)] == [(2, 6 * 8, 8)] * 3


def test_the_published_sizes_are_a_base_transformers():
    with torch.device("meta"):
        count = sum(p.numel() for p in BEATs(BEATsConfig()).parameters())
    assert round(count / 1e6) == 90  # the paper's table 1


def test_hidden_states_are_another_implementations():
    network = BEATs.from_state_dict(checkpoint(TINY))
    assert network.config == TINY
    states = network(torch.cos(torch.arange(48 * 32) * 0.11).view(1, 48, 32))
    first = [-0.63747, 0.82109, -1.05879, -0.49429, 1.49320, 0.83419, 0.79512, -0.76158]
    last = [-0.01663, 0.47973, -1.45193, -0.97073, 1.61200, -0.49225, -0.48668, 1.74177]
    torch.testing.assert_close(states[0][0, 1], torch.tensor(first), atol=2e-5, rtol=0)
    torch.testing.assert_close(states[2][0, 5], torch.tensor(last), atol=2e-5, rtol=0)


def test_a_query_gates_the_bias_of_distance():
    """One head of two numbers, all projections the identity: the update gate is 3/4 for the query (1, 0) and 1/2 for
    (0, 1), the reset gate 1/2, and its scale 4: the bias counts 3/4 (4/2 - 1) + 2 = 2.75 and 2.5 times."""
    attention = GatedAttention(2, 1)
    with torch.no_grad():
        for part in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
            part.weight.copy_(torch.eye(2))
            part.bias.zero_()
        attention.grep_linear.weight.zero_()
        attention.grep_linear.bias.zero_()
        attention.grep_linear.weight[1, 0] = math.log(3)
        attention.grep_a.fill_(4)
        made = attention(torch.eye(2)[None], torch.tensor([[[0.0, 1.0], [2.0, 0.0]]]))[0]
    itself = 1 / math.sqrt(2)
    first, second = 1 / (1 + math.exp(2.75 - itself)), 1 / (1 + math.exp(5.0 - itself))
    torch.testing.assert_close(made, torch.tensor([[first, 1 - first], [1 - second, second]]))


def test_near_distances_have_buckets_of_their_own_and_far_ones_share():
    """Of 8 buckets 4 stand for each side: 0 and 1 exactly, then 2 + 2 log(d / 2) / log(16 / 2), at most 3."""
    buckets = distance_buckets(20, 8, 16)
    assert buckets[19, [19, 18, 17, 16, 14, 13, 0]].tolist() == [0, 1, 2, 2, 2, 3, 3]
    assert buckets[0, [1, 2, 5, 6, 19]].tolist() == [5, 6, 6, 7, 7]


def test_layers_with_a_gap_and_too_many_are_refused():
    state = checkpoint(TINY)
    with pytest.raises(ValueError, match="has 4 layers, the last of which is 20000; expected no gap"):
        BEATs.from_state_dict(state | {"encoder.layers.20000.x": torch.zeros(1)})
    with pytest.raises(ModelError, match=r"BEATs\.layers is 20000; expected 1 to 64"):
        BEATs.from_state_dict(state | {f"encoder.layers.{k}.x": torch.zeros(1) for k in range(3, 20_000)})


def test_weights_of_another_network_are_refused():
    with pytest.raises(KeyError):
        BEATs.from_state_dict({"features.0.weight": torch.zeros(1)})
