"""The reference system of report 001: its sizes, and none of its first implementation's nine defects.

Number 6 (the "KL") is of the losses, number 8 (chunks of one recording in both train and test) of the data's splits:
they are tested there.
"""

import copy

import pytest
import torch

from timbrel.diffusion import ddim, inference_timesteps, linear_schedule, seeded_noise
from timbrel.errors import InputError
from timbrel.models.report import (
    CrossAttention,
    ReportCodec,
    ReportCodecConfig,
    ReportStyle,
    ReportStyleConfig,
    ReportStyleEncoder,
    ReportUNet,
    ReportUNetConfig,
)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def codec():
    return ReportCodec(ReportCodecConfig())


@pytest.fixture
def style_encoder():
    return ReportStyleEncoder(ReportStyleConfig())


@pytest.fixture
def unet():
    return ReportUNet(ReportUNetConfig())


def size(module):
    return sum(p.numel() for p in module.parameters())


def mel(batch=2, bands=128, frames=128):
    return torch.rand(batch, 1, bands, frames) * -100


def test_sizes_are_exact(codec, style_encoder, unet):
    assert size(codec.encoder) == 111_840
    assert size(codec.decoder) == 198_209
    assert size(style_encoder) == 2_729_984
    assert size(unet.cross_attention1) == 1_050_624
    assert size(unet.cross_attention2) == 263_168
    assert size(unet) == 6_841_504
    assert size(codec) + size(style_encoder) + size(unet) == 9_881_537


def test_the_reports_picture_gives_the_reports_shapes(codec, style_encoder, unet):
    latents = codec.encode(mel())
    style = style_encoder(codec.normalise(mel()))
    assert latents.shape == (2, 32, 16, 16)
    assert style.fine.shape == (2, 4 * 4, 256)
    assert style.coarse.shape == (2, 2 * 2, 512)
    assert codec.decode(latents).shape == (2, 1, 128, 128)
    shapes = []
    for attention in (unet.cross_attention1, unet.cross_attention2):
        attention.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape)))
    assert unet(latents, torch.tensor([0, 199]), style).shape == latents.shape
    assert shapes == [(2, 512, 2, 2), (2, 256, 4, 4)]


def test_four_downsamplings_give_the_reports_first_latents():
    """Section 4.3: [32, 8, 8], of which it went over to [32, 16, 16]."""
    codec = ReportCodec(ReportCodecConfig(downsamplings=4)).eval()
    assert codec.encode(mel()).shape == (2, 32, 8, 8)
    assert codec.decode(codec.encode(mel())).shape == (2, 1, 128, 128)
    with pytest.raises(InputError, match="multiples of 16"):
        codec.encode(mel(1, 128, 72))
    with pytest.raises(InputError, match="downsamplings is 0; expected 1 or more"):
        ReportCodec(ReportCodecConfig(downsamplings=0))


@pytest.mark.parametrize(("kind", "parameters"), [("sinusoidal", 0), ("learned", 200 * 128), ("fourier", 0)])
def test_each_embedding_of_time_tells_all_timesteps_apart(kind, parameters):
    unet = ReportUNet(ReportUNetConfig(time_embedding=kind))
    assert size(unet) == 6_841_504 + parameters
    embedded = unet._embed(torch.arange(200))
    assert embedded.shape == (200, 128)
    assert (torch.cdist(embedded, embedded) + 10 * torch.eye(200)).min() > 0.05
    before = unet.state_dict()
    again = ReportUNet(ReportUNetConfig(time_embedding=kind))
    again.load_state_dict(before)  # random frequencies are kept
    assert torch.equal(again._embed(torch.arange(200)), embedded)


def test_an_unknown_embedding_of_time_is_refused():
    with pytest.raises(InputError, match="time_embedding is 'none'; expected 'sinusoidal'"):
        ReportUNet(ReportUNetConfig(time_embedding="none"))  # type: ignore[arg-type]


def test_a_wider_system_takes_the_same_latents():
    style_encoder, unet = ReportStyleEncoder(ReportStyleConfig(96)), ReportUNet(ReportUNetConfig(num_filters=96))
    assert size(unet) > 2 * 6_841_504
    x = torch.randn(1, 32, 16, 16)
    assert unet(x, torch.tensor([3]), style_encoder(torch.rand(1, 1, 128, 128))).shape == x.shape


@pytest.mark.parametrize("sides", [(8, 8), (40, 264), (256, 72)])
def test_any_size_that_the_factor_divides(codec, style_encoder, unet, sides):
    latents = codec.eval().encode(mel(1, *sides))
    assert latents.shape == (1, 32, sides[0] // 8, sides[1] // 8)
    assert codec.decode(latents).shape == (1, 1, *sides)
    style = style_encoder(codec.normalise(mel(1, 50, 131)))  # a reference clip of a size of its own
    assert unet(latents, torch.tensor([7]), style).shape == latents.shape


@pytest.mark.parametrize("shape", [(1, 1, 128, 130), (1, 1, 100, 128), (1, 2, 128, 128), (1, 128, 128)])
def test_other_shapes_are_refused_with_a_remedy(codec, shape):
    with pytest.raises(InputError, match="multiples of 8: pad with the floor, -100 dB"):
        codec.encode(torch.zeros(shape))


def test_batch_size_changes_nothing(codec, style_encoder, unet):
    """Defect 7, at inference: batch statistics of one."""
    pictures, timesteps = mel(3), torch.tensor([0, 80, 199])

    def run(part):
        latents = codec.encode(pictures[part])
        prediction = unet(latents, timesteps[part], style_encoder(codec.normalise(pictures[part])))
        return codec.decode(prediction)

    for module in (codec, style_encoder, unet):
        module.eval()
    with torch.no_grad():
        together, alone = run(slice(None)), torch.cat([run(slice(i, i + 1)) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)  # dB


def test_style_is_trained_and_heard(codec, style_encoder, unet):
    """Defects 1 and 2: no gradient to the style path, an optimum that ignores it."""
    latents, timesteps = torch.randn(2, 32, 16, 16), torch.tensor([50, 199])
    style = style_encoder(codec.normalise(mel()))
    prediction = unet(latents, timesteps, style)
    other = unet(latents, timesteps, style_encoder(codec.normalise(mel() / 2)))
    assert (prediction - other).std() > 0.01 * prediction.std()
    prediction.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in style_encoder.parameters())
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in unet.parameters() if p.ndim > 1)


def test_attention_adds_to_the_features():
    """Defect 3: what was found replaced them."""
    attention = CrossAttention(16, 4)
    x, tokens = torch.randn(2, 16, 3, 5), torch.randn(2, 7, 16)
    assert not torch.equal(attention(x, tokens), x)
    torch.nn.init.zeros_(attention.attention.out_proj.weight)
    assert torch.equal(attention(x, tokens), x)


def test_style_tokens_know_their_place(style_encoder):
    """Defect 3: without a place, all tokens of an even picture (away from its edge) are the same."""
    tokens = style_encoder(torch.full((1, 1, 512, 512), 0.5)).fine.view(16, 16, 256)
    inner = tokens[6:-6, 6:-6].flatten(0, 1)
    apart = torch.cdist(inner, inner) + 10 * torch.eye(len(inner))
    assert apart.min() > 0.1
    assert torch.cdist(tokens[8, 8][None], tokens[8, 9][None]) < torch.cdist(tokens[8, 6][None], tokens[8, 9][None])


def test_sampling_starts_where_training_ends(codec, style_encoder, unet):
    """Defect 4, and the whole path: noised content, style by attention, a mel within its range."""
    schedule = linear_schedule(200, prediction_type="v", zero_terminal_snr=True)
    for module in (codec, style_encoder, unet):
        module.eval()
    with torch.no_grad():
        style = style_encoder(codec.normalise(mel(1)))
        content, noise = codec.encode(mel(1)), seeded_noise((32, 16, 16), [0])
        assert torch.equal(schedule.add_noise(content, noise, 199), noise)
        for start in (1.0, 0.6):
            timesteps = inference_timesteps(schedule, 4, start=start)
            x = schedule.add_noise(content, noise, timesteps[0])
            out = codec.decode(ddim(lambda x, t: unet(x, t, style), x, schedule, timesteps))
            assert out.shape == (1, 1, 128, 128)
            assert out.isfinite().all()


def test_one_range_everywhere(codec):
    """Defect 5: a decoder of [-1, 1] against data of [0, 1]."""
    levels = torch.tensor([-120.0, -100.0, -50.0, 0.0, 6.0]).view(1, 1, 1, 5)
    assert codec.normalise(levels).flatten().tolist() == [-1, -1, 0, 1, 1]
    ends = torch.tensor([[-1e3] * 32, [1e3] * 32])[:, :, None, None]
    codec.decoder = torch.nn.Sequential(torch.nn.Conv2d(32, 1, 1), torch.nn.Tanh())
    torch.nn.init.ones_(codec.decoder[0].weight)
    torch.testing.assert_close(codec.decode(ends).flatten(), torch.tensor([-100.0, 0.0]))


def test_a_frozen_encoder_learns_nothing(codec):
    """Defect 7: BatchNorm went on learning."""
    codec.fit_scale(mel(4))
    codec.freeze_encoder()
    before, decoder = copy.deepcopy(codec.encoder.state_dict()), copy.deepcopy(codec.decoder.state_dict())
    expected = codec.eval().encode(mel(1).fill_(-30))
    codec.train()
    assert torch.equal(codec.encode(mel(1).fill_(-30)), expected)
    codec.decode(codec.encode(mel(4))).mean().backward()
    assert all(torch.equal(v, before[k]) for k, v in codec.encoder.state_dict().items())
    assert all(p.grad is None for p in codec.encoder.parameters())
    assert all(p.grad is not None for p in codec.decoder.parameters())
    assert any(not torch.equal(v, decoder[k]) for k, v in codec.decoder.state_dict().items())


def test_latents_have_unit_variance(codec):
    batch = mel(4)
    codec.encoder[-1].weight.data.fill_(3.0)
    codec.train().encode(batch)
    codec.eval().fit_scale(batch)
    assert codec.encode(batch).std().item() == pytest.approx(1.0, abs=1e-4)
    assert "scale" in codec.state_dict()


def test_level_is_kept(codec):
    """Defect 9: each chunk was scaled by its own maximum."""
    loud = mel(1) / 2
    torch.testing.assert_close(codec.normalise(loud) - codec.normalise(loud - 20), torch.full_like(loud, 0.4))
    assert (codec.normalise(torch.full((1, 1, 8, 8), -100.0)) == -1).all()


def test_null_style_is_the_same_for_all_clips(style_encoder, unet):
    a, b = (style_encoder(torch.rand(2, 1, 64, 64)) for _ in range(2))
    dropped = unet.null(a, drop=torch.tensor([True, False]))
    assert torch.equal(dropped.fine[0], unet.null(b).fine[0])
    assert torch.equal(dropped.coarse[1], a.coarse[1])
    assert isinstance(dropped, ReportStyle)
    x, t = torch.randn(2, 32, 8, 8), torch.tensor([3, 3])
    assert torch.equal(unet(x, t, unet.null(a)), unet(x, t, unet.null(b)))


def test_it_learns_to_take_the_level_from_the_style():
    """From pure noise the answer is in the style alone: a few steps must find some of it."""
    schedule = linear_schedule(200, prediction_type="v", zero_terminal_snr=True)
    style_encoder = ReportStyleEncoder(ReportStyleConfig(num_filters=16))
    unet = ReportUNet(ReportUNetConfig(num_filters=16))
    parameters = [*style_encoder.parameters(), *unet.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3)
    pictures = torch.tensor([-0.8, -0.8, 0.8, 0.8]).view(4, 1, 1, 1).expand(4, 1, 64, 64)
    x0 = torch.tensor([-1.0, -1.0, 1.0, 1.0]).view(4, 1, 1, 1).expand(4, 32, 4, 4)
    losses = []
    for _ in range(40):
        noise, t = torch.randn(4, 32, 4, 4), torch.full((4,), 199)
        prediction = unet(schedule.add_noise(x0, noise, t), t, style_encoder(pictures))
        loss = torch.nn.functional.mse_loss(prediction, schedule.target(x0, noise, t))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.6  # 1 is what not listening to the style leaves
