import dataclasses

import pytest
import torch

from timbrel.diffusion.schedules import cosine_schedule
from timbrel.models.denoiser import BandAttention, Condition, DenoiserConfig, TransferDenoiser
from timbrel.models.layers import CrossAttention, TimeConv, sinusoidal_embedding

SCHEDULE = cosine_schedule(100, prediction_type="sample", zero_terminal_snr=True)
SMALL = DenoiserConfig(
    latent_channels=2,
    latent_height=4,
    token_width=16,
    width=24,
    dilations=(1, 2),
    modulation_width=8,
    num_heads=2,
    picture_width=6,
    picture_dilations=(1, 2),
)


def denoiser(config=SMALL, *, fresh=False):
    torch.manual_seed(0)
    model = TransferDenoiser(config, SCHEDULE.alphas_cumprod).eval().requires_grad_(False)
    for parameter in () if fresh else model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def condition(batch=2, frames=12, tokens=6):
    generator = torch.Generator().manual_seed(1)
    shapes = (batch, 2, 4, frames), (batch, tokens, 16)
    content, style = (torch.randn(shape, generator=generator) for shape in shapes)
    return Condition(content, style, torch.ones(batch, tokens, dtype=torch.bool))


def test_the_prediction_has_the_latents_shape_and_any_length():
    model = denoiser()
    for frames in (1, 12, 37):
        noisy = torch.randn(2, 2, 4, frames)
        predicted = model(noisy, torch.tensor([0, 99]), condition(frames=frames))
        assert predicted.shape == noisy.shape
        assert predicted.isfinite().all()


def test_pure_noise_is_not_listened_to_and_clean_latents_pass():
    model = denoiser(fresh=True)
    noise, clean = torch.randn(2, 2, 2, 4, 12)
    last = torch.full((2,), 99)
    torch.testing.assert_close(
        model(noise, last, condition()), model(noise.flip(0), last, condition()), atol=1e-4, rtol=0
    )
    almost_clean = SCHEDULE.add_noise(clean, noise, torch.zeros(2, dtype=torch.long))
    predicted = model(almost_clean, torch.zeros(2, dtype=torch.long), condition())
    assert float((predicted - clean).square().mean()) < 0.02


def test_content_style_and_time_are_heard():
    model, given = denoiser(), condition()
    noisy, t = torch.randn(2, 2, 4, 12), torch.tensor([50, 50])
    plain = model(noisy, t, given)
    for changed in (
        model(noisy, t, Condition(given.content.flip(0), given.tokens, given.mask)),
        model(noisy, t, Condition(given.content, given.tokens.flip(0), given.mask)),
        model(noisy, t + 10, given),
        model(noisy, t, model.null(given)),
    ):
        assert float((changed - plain).abs().max()) > 1e-3


def test_masked_tokens_and_the_order_of_tokens_do_not_matter():
    model, given = denoiser(), condition()
    noisy, t = torch.randn(2, 2, 4, 12), torch.tensor([50, 20])
    shorter = model(noisy, t, Condition(given.content, given.tokens[:, :4], given.mask[:, :4]))
    mask = given.mask.clone()
    mask[:, 4:] = False
    torch.testing.assert_close(model(noisy, t, Condition(given.content, given.tokens, mask)), shorter)
    turned = Condition(given.content, given.tokens.flip(1), given.mask)
    torch.testing.assert_close(model(noisy, t, turned), model(noisy, t, given), atol=1e-5, rtol=1e-4)


def test_a_sample_comes_out_of_a_batch_as_it_would_alone():
    model, given = denoiser(), condition()
    noisy, t = torch.randn(2, 2, 4, 12), torch.tensor([50, 20])
    alone = model(noisy[1:], t[1:], Condition(given.content[1:], given.tokens[1:], given.mask[1:]))
    torch.testing.assert_close(model(noisy, t, given)[1:], alone, atol=1e-5, rtol=1e-4)


def test_null_drops_the_style_where_it_is_told_to():
    model, given = denoiser(), condition()
    given = Condition(given.content, given.tokens, given.mask & (torch.arange(6) < 3))
    some = model.null(given, torch.tensor([True, False]))
    assert bool((some.tokens[0] == model.null_token).all())
    assert bool(some.mask[0].all())
    torch.testing.assert_close(some.tokens[1], given.tokens[1])
    assert some.mask[1].tolist() == given.mask[1].tolist()
    assert bool((model.null(given).tokens == model.null_token).all())


def test_the_picture_blocks_see_neighbouring_bands_and_start_as_nothing():
    noisy, t, given = torch.randn(2, 2, 4, 12), torch.tensor([50, 20]), condition()
    along_time = dataclasses.replace(SMALL, picture_dilations=())
    torch.testing.assert_close(denoiser(fresh=True)(noisy, t, given), denoiser(along_time, fresh=True)(noisy, t, given))
    model = denoiser()
    torch.nn.init.zeros_(model.leave.weight)  # so that nothing but the picture blocks reaches the answer
    high = given.content.clone()
    high[:, :, 3, 9] += 1
    changed = (model(noisy, t, Condition(high, given.tokens, given.mask)) - model(noisy, t, given)).abs().amax(dim=1)
    assert float(changed[:, 1, 7].min()) > 1e-5
    assert not changed[..., :3].any()  # 1 + 1 + 2 frames away at most


NOISY = dataclasses.replace(SMALL, latent_channels=5, noise_input=True)


def with_noise(batch=2, frames=12):
    """A condition of five channels, noise, and the last timestep."""
    given = condition(batch, frames)
    wide = torch.cat([given.content, given.content, given.content[:, :1]], dim=1)
    noise = torch.randn(batch, 5, 4, frames, generator=torch.Generator().manual_seed(2))
    return noise, torch.full((batch,), 99), Condition(wide, given.tokens, given.mask)


def test_noise_as_an_input_changes_nothing_at_first():
    noise, _, given = with_noise()
    t = torch.tensor([50, 99])
    plain = denoiser(dataclasses.replace(NOISY, noise_input=False), fresh=True)
    torch.testing.assert_close(denoiser(NOISY, fresh=True)(noise, t, given), plain(noise, t, given))


@pytest.mark.parametrize("channel", range(5))
@pytest.mark.parametrize("picture_dilations", [(1, 2), ()])
def test_another_noise_has_another_answer_once_trained(channel, picture_dilations):
    model = denoiser(dataclasses.replace(NOISY, picture_dilations=picture_dilations))
    noise, last, given = with_noise()
    other = noise.clone()
    other[:, channel] *= -1
    changed = float((model(other, last, given) - model(noise, last, given)).abs().max())
    heard = channel == 0 or (channel < 4 and bool(picture_dilations))
    assert changed > 1e-2 if heard else changed < 1e-3


def test_noise_has_unit_variance_at_every_level():
    model = denoiser(NOISY)
    model.mean.fill_(0.7)
    model.std.fill_(3.0)
    clean = 0.7 + 3 * torch.randn(1, 5, 4, 4000)
    seen = []
    model.network = lambda inputs, timesteps, condition, noise: seen.append(noise) or noise
    for t in (0, 50, 99):
        at = torch.tensor([t])
        model(SCHEDULE.add_noise(clean, torch.randn_like(clean), at), at, with_noise(1, 4000)[2])
    for noise in seen:
        assert float(noise.std()) == pytest.approx(1, abs=0.02)
        assert float(noise.mean()) == pytest.approx(0, abs=0.03)


def test_with_noise_a_sample_comes_out_of_a_batch_as_it_would_alone():
    model, (noise, last, given) = denoiser(NOISY), with_noise()
    alone = [model(noise[k : k + 1], last[k : k + 1], _one(given, k)) for k in range(2)]
    torch.testing.assert_close(model(noise, last, given), torch.cat(alone), atol=1e-5, rtol=1e-4)


def _one(given, k):
    return Condition(given.content[k : k + 1], given.tokens[k : k + 1], given.mask[k : k + 1])


def test_few_latent_channels_give_all_that_they_have():
    few = dataclasses.replace(SMALL, noise_input=True)
    assert denoiser(few)(torch.randn(2, 2, 4, 12), torch.tensor([50, 99]), condition()).shape == (2, 2, 4, 12)


@pytest.mark.parametrize("dilation", [1, 3])
def test_time_convolution_is_conv1d(dilation):
    layer, x = TimeConv(5, 7, dilation), torch.randn(2, 11, 5)
    weight = layer.linear.weight.unflatten(1, (3, 5)).transpose(1, 2)
    expected = torch.nn.functional.conv1d(
        x.transpose(1, 2), weight, layer.linear.bias, padding=dilation, dilation=dilation
    )
    torch.testing.assert_close(layer(x), expected.transpose(1, 2), atol=1e-5, rtol=1e-4)


def test_cross_attention_starts_as_nothing_and_embeddings_tell_times_apart():
    attention = CrossAttention(8, 16, 2)
    assert not attention(torch.randn(1, 4, 8), torch.randn(1, 3, 16), torch.ones(1, 3, dtype=torch.bool)).any()
    embedded = sinusoidal_embedding(torch.arange(1000), 32)
    assert embedded.shape == (1000, 32)
    distance = torch.cdist(embedded, embedded) + 10 * torch.eye(1000)
    assert float(distance.min()) > 0.1


def test_a_band_looks_along_itself_as_far_as_it_goes_and_at_no_other():
    torch.manual_seed(0)
    attention, x, embedding = BandAttention(8, 6), torch.randn(2, 8, 3, 42), torch.randn(2, 6)
    torch.testing.assert_close(attention(x, embedding), x)
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    plain = attention(x, embedding) - x
    changed = x.clone()
    changed[0, :, 1, 41] += torch.arange(8.0)
    moved = (attention(changed, embedding) - changed - plain).detach().abs().amax(dim=1)
    assert float(moved[0, 1, 0]) > 1e-4
    assert float(moved[0, ::2].max()) < 1e-5 > float(moved[1].max())


def test_of_moments_that_are_alike_a_band_finds_the_same_whatever_their_number():
    torch.manual_seed(0)
    attention, moment, embedding = BandAttention(8, 6), torch.randn(1, 8, 2, 1), torch.randn(1, 6)
    torch.nn.init.normal_(attention.out.weight)
    one = attention(moment, embedding)
    torch.testing.assert_close(attention(moment.expand(-1, -1, -1, 30), embedding), one.expand(-1, -1, -1, 30))


def test_a_band_finds_the_same_with_gradients_and_without():
    torch.manual_seed(0)
    attention, x, embedding = BandAttention(8, 6), torch.randn(2, 8, 3, 30), torch.randn(2, 6)
    torch.nn.init.normal_(attention.out.weight)
    trained = attention(x, embedding).detach()
    assert float((trained - x).abs().max()) > 0.1
    with torch.no_grad():
        torch.testing.assert_close(attention(x, embedding), trained, rtol=1e-4, atol=1e-5)
