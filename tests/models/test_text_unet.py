"""The denoiser of generated sound: shapes, what it starts from, and whether it hears the text."""

import dataclasses

import pytest
import torch

from timbrel.diffusion.schedules import cosine_schedule
from timbrel.errors import InputError
from timbrel.models.text_unet import (
    Text,
    TextUNet,
    TextUNetConfig,
    carried,
    sustained,
    with_band_attention,
    with_expecting,
    with_masks,
    with_widths,
)

SCHEDULE = cosine_schedule(100, prediction_type="v", zero_terminal_snr=True)
SMALL = TextUNetConfig(
    latent_channels=2,
    latent_height=4,
    token_width=16,
    widths=(16, 24),
    modulation_width=8,
    num_heads=2,
    picture_width=4,
    band_attention=True,
)


def unet(config=SMALL, *, fresh=False):
    torch.manual_seed(0)
    model = TextUNet(config, SCHEDULE.alphas_cumprod).eval().requires_grad_(False)
    for parameter in () if fresh else model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def text(batch=2, length=3, seed=1):
    tokens = torch.randn(batch, length, 16, generator=torch.Generator().manual_seed(seed))
    return Text(tokens, torch.ones(batch, length, dtype=torch.bool))


@pytest.mark.parametrize("dilations", [(), (1, 2)])
def test_the_prediction_has_the_latents_shape_and_any_length(dilations):
    model = unet(TextUNetConfig(**(SMALL.__dict__ | {"picture_dilations": dilations})))
    for frames in (1, 12, 37):
        noisy = torch.randn(2, 2, 4, frames)
        predicted = model(noisy, torch.tensor([0, 99]), text())
        assert predicted.shape == noisy.shape
        assert predicted.isfinite().all()


def test_fresh_it_is_the_best_linear_estimate_whatever_the_text():
    model, noisy, t = unet(fresh=True), torch.randn(2, 2, 4, 12), torch.tensor([0, 60])
    model.std.fill_(0.5)
    model.leave.bias.zero_()
    model.picture.leave.bias.zero_()
    abar = SCHEDULE.alphas_cumprod.float()[t][:, None, None, None]
    expected = abar.sqrt() * (1 - abar).sqrt() * 0.75 / (abar * 0.25 + 1 - abar) * noisy
    for seed in (1, 2):
        torch.testing.assert_close(model(noisy, t, text(seed=seed)), expected, atol=1e-5, rtol=1e-4)


def test_text_time_and_neighbours_are_heard_and_hidden_tokens_are_not():
    model, noisy, t = unet(), torch.randn(2, 2, 4, 16), torch.tensor([50, 50])
    plain = model(noisy, t, text())
    for other in (model(noisy, t, text(seed=2)), model(noisy, t + 10, text())):
        assert float((other - plain).abs().max()) > 1e-3
    hidden = Text(torch.cat([text().tokens, text(seed=3).tokens], 1), torch.arange(6).expand(2, 6) < 3)
    torch.testing.assert_close(model(noisy, t, hidden), plain, atol=1e-5, rtol=1e-4)
    changed = noisy.clone()
    changed[..., 15] += 1
    assert float((model(changed, t, text()) - plain).abs()[..., 9].max()) > 1e-6


def test_null_is_the_same_for_every_text_and_drops_where_it_is_told_to():
    model, noisy, t = unet(), torch.randn(2, 2, 4, 8), torch.tensor([50, 20])
    every, some = torch.tensor([True, True]), torch.tensor([True, False])
    texts = (text(seed=seed, length=length) for seed, length in ((1, 3), (2, 5)))
    one, other = (model(noisy, t, given.dropped(model.null_token, every)) for given in texts)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    half = model(noisy, t, text().dropped(model.null_token, some))
    torch.testing.assert_close(half[0], one[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(half[1], model(noisy, t, text())[1], atol=1e-5, rtol=1e-4)


MASKED = dataclasses.replace(SMALL, masked=True)


def test_masked_it_hears_what_is_around_and_no_noise_there():
    model, t = unet(MASKED), torch.tensor([50])
    noisy, known = torch.randn(2, 1, 2, 4, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 4, 32)
    mask[..., 12:20] = 1

    def made(noisy, known):
        return model(torch.cat([noisy, mask, known * (1 - mask)], dim=1), t, text(1))[..., 12:20]

    plain = made(noisy, known)
    assert plain.shape == (1, 2, 4, 8)
    torch.testing.assert_close(made(torch.where(mask > 0, noisy, 9.0), known), plain, rtol=0, atol=0)
    torch.testing.assert_close(made(noisy, torch.where(mask > 0, 9.0, known)), plain, rtol=0, atol=0)
    assert float((made(noisy, known + 1) - plain).abs().max()) > 1e-3
    assert float((model(noisy, t, text(1))[..., 12:20] - plain).abs().max()) > 1e-3


def test_what_is_known_of_a_band_is_carried_along_it():
    known = torch.tensor([[5.0, 9, 9, 1], [2, 9, 9, 9], [9, 9, 9, 9]])[None, None]
    is_known = torch.tensor([[1.0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]])[None, None]
    across = (5 / 2 + 1 / 5) / (1 / 2 + 1 / 5)  # at distances of 1 and 2
    held = carried(known, is_known)[0, 0]
    torch.testing.assert_close(held[0, 1:3], torch.tensor([across, 6 - across]))
    torch.testing.assert_close(held[1:], torch.tensor([[2.0] * 4, [0.0] * 4]))
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(carried(known, is_known)[0, 0], held, rtol=0, atol=0)
    far = carried(torch.ones(1, 2, 1, 5000), (torch.arange(5000) < 3).float().expand(1, 1, 1, 5000))
    torch.testing.assert_close(far, torch.ones(1, 2, 1, 5000))


def test_what_is_steady_and_near_is_relied_on():
    moment = torch.arange(2000)
    is_known = ((moment < 40) | ((moment >= 50) & (moment < 90))).float().expand(1, 1, 4, 2000)
    steady, restless = torch.full((2000,), 7.0), 1.0 + 2.0 * (-1) ** moment
    known = torch.stack([steady, restless, 6.9 + 0.1 * restless, steady])[None, None] * is_known
    is_known = is_known * torch.tensor([1.0, 1, 1, 0])[:, None]
    mean, reliance = sustained(known, is_known)
    assert mean.shape == reliance.shape == known.shape
    between, steady, restless, hardly, unknown = slice(40, 50), *reliance[0, 0]
    torch.testing.assert_close(mean[0, 0, 0, :200], torch.full((200,), 7.0))
    torch.testing.assert_close(mean[0, 0, 1, between], torch.ones(10), atol=0.3, rtol=0)
    assert float(steady[between].min()) > 0.9
    assert float(restless[between].max()) < 0.06
    assert (hardly[between] < steady[between]).all()
    assert (steady[95:150].diff() < 0).all()
    assert float(steady[90 + 22]) == pytest.approx(0.5, abs=0.03)
    assert float(steady[200:].max()) < 0.001
    assert not unknown.any()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(sustained(known, is_known), (mean, reliance), rtol=0, atol=0)


def test_where_nothing_is_known_a_mask_says_nothing():
    model, noisy, t = unet(MASKED), torch.randn(2, 2, 4, 13), torch.tensor([50, 20])
    whole = torch.cat([noisy, torch.ones(2, 1, 4, 13), torch.zeros(2, 2, 4, 13)], dim=1)
    torch.testing.assert_close(model(whole, t, text()), model(noisy, t, text()))


def test_other_channels_are_named():
    for config, channels, expected in ((SMALL, 5, "expected 2$"), (MASKED, 3, "expected 2 or 5")):
        with pytest.raises(InputError, match=f"there are {channels} channels; {expected}"):
            unet(config)(torch.zeros(1, channels, 4, 8), torch.tensor([50]), text(1))


@pytest.mark.parametrize("dilations", [(), (1, 2)])
def test_with_masks_it_makes_what_it_made(dilations):
    model = unet(dataclasses.replace(SMALL, picture_dilations=dilations))
    wider, noisy, t = with_masks(model).eval(), torch.randn(2, 2, 4, 12), torch.tensor([50, 20])
    torch.testing.assert_close(wider(noisy, t, text()), model(noisy, t, text()))
    assert wider.config.masked
    assert with_masks(wider) is wider


def test_with_band_attention_it_makes_what_it_made():
    model = unet(dataclasses.replace(SMALL, band_attention=False))
    looking, noisy, t = with_band_attention(model).eval(), torch.randn(2, 2, 4, 12), torch.tensor([50, 20])
    torch.testing.assert_close(looking(noisy, t, text()), model(noisy, t, text()))
    assert looking.config.band_attention
    assert with_band_attention(looking) is looking
    along_time = unet(dataclasses.replace(SMALL, picture_dilations=(), band_attention=False))
    torch.testing.assert_close(with_band_attention(along_time).eval()(noisy, t, text()), along_time(noisy, t, text()))


def test_the_picture_needs_a_width_for_the_heads_of_its_attention():
    unet(dataclasses.replace(SMALL, picture_width=6, band_attention=False))
    with pytest.raises(InputError, match="picture_width is 6; expected a multiple of band_attention's 4 heads"):
        unet(dataclasses.replace(SMALL, picture_width=6))


@pytest.mark.parametrize("masked", [False, True])
def test_with_twice_the_widths_it_makes_what_it_made_and_its_copies_can_part(masked):
    model = unet(dataclasses.replace(SMALL, widths=(16, 24, 20), masked=masked))
    wider, noisy, t = with_widths(model, (32, 48, 40)).eval(), torch.randn(2, 2, 4, 12), torch.tensor([50, 20])
    torch.testing.assert_close(wider(noisy, t, text()), model(noisy, t, text()), atol=1e-4, rtol=1e-3)
    assert wider.config == dataclasses.replace(model.config, widths=(32, 48, 40))
    with torch.enable_grad():
        gradient = torch.autograd.grad(
            wider.requires_grad_(True)(noisy, t, text()).square().mean(),
            dict(wider.named_parameters())["downs.0.block.conv1.linear.weight"],
        )[0]
    copied = [torch.argwhere((wider.enter.bias == bias).cpu())[:, 0].tolist() for bias in model.enter.bias]
    assert all(len(both) == 2 for both in copied)
    assert all((gradient[a] - gradient[b]).abs().max() > 0.01 * gradient[a].abs().max() for a, b in copied)


def test_with_some_more_widths_it_makes_nearly_that():
    model = unet(dataclasses.replace(SMALL, widths=(64, 64)))
    wider, noisy, t = with_widths(model, (96, 80)).eval(), torch.randn(2, 2, 4, 12), torch.tensor([50, 20])
    made, before = wider(noisy, t, text()), model(noisy, t, text())
    assert (made - before).std() < 0.1 * before.std()
    assert with_widths(model, (64, 64)) is model


@pytest.mark.parametrize("widths", [(16,), (16, 20), (16, 24, 24)])
def test_narrower_and_other_levels_are_refused(widths):
    with pytest.raises(InputError, match=r"expected as many levels as \(16, 24\), none of them narrower"):
        with_widths(unet(), widths)


def test_it_fits_the_shipped_size():
    model = TextUNet(TextUNetConfig(), SCHEDULE.alphas_cumprod)
    assert 6.5e6 < sum(p.numel() for p in model.parameters()) < 7e6


def test_other_settings_are_refused():
    for wrong in ({"widths": ()}, {"token_width": 18, "num_heads": 4}):
        with pytest.raises(InputError, match="expected one level or more, and an even multiple"):
            TextUNet(TextUNetConfig(**(SMALL.__dict__ | wrong)), SCHEDULE.alphas_cumprod)


def around(model, *, seed=2, expected=True):
    """What is around the last five of twelve moments, and what is expected there: [2, 3 or 7, 4, 12]."""
    rng = torch.Generator().manual_seed(seed)
    mask = torch.zeros(2, 1, 4, 12)
    mask[..., 7:] = 1
    known, guess, share = (torch.randn(2, 2, 4, 12, generator=rng) for _ in range(3))
    more = [guess * model.std + model.mean, share.sigmoid()] if expected else []
    return torch.cat([mask, known * (1 - mask), *more], dim=1)


def test_it_goes_part_of_the_way_to_what_is_expected_where_sound_is_made_and_nowhere_else():
    model, noisy, t = with_expecting(unet(MASKED)).eval(), torch.randn(2, 2, 4, 12), torch.tensor([99, 60])
    model.expecting.SHY = 0.0  # half of the way, where noise is all there is
    model.mean.fill_(0.3)
    model.std.fill_(0.5)
    told = around(model)
    without = model(torch.cat([noisy, told[:, :3]], dim=1), t, text())
    heard = model(torch.cat([noisy, told], dim=1), t, text())
    torch.testing.assert_close(heard[..., :7], without[..., :7], rtol=0, atol=0)
    clean, nearer = -without[0, ..., 7:], -heard[0, ..., 7:]  # v of pure noise
    torch.testing.assert_close(nearer, (clean + told[0, 3:5, :, 7:]) / 2, rtol=1e-4, atol=1e-4)


def test_what_is_expected_where_sound_is_known_does_not_count_and_its_deviation_is_the_latents():
    model, noisy, t = (
        unet(dataclasses.replace(MASKED, expecting=True)),
        torch.randn(2, 2, 4, 12),
        torch.tensor([99, 60]),
    )
    told, other = around(model), around(model)
    other[:, 3:, :, :7] += 5
    one, same = (model(torch.cat([noisy, each], dim=1), t, text())[..., 7:] for each in (told, other))
    torch.testing.assert_close(one, same, rtol=0, atol=0)
    moved = model(
        torch.cat([noisy, told.index_add(1, torch.tensor([3, 4]), torch.ones(2, 2, 4, 12))], dim=1), t, text()
    )
    assert float((moved[..., 7:] - one).abs().min()) > 0


def test_with_expecting_it_makes_what_it_made_and_can_leave_it():
    model, noisy, t = unet(MASKED), torch.randn(2, 2, 4, 12), torch.tensor([50, 20])
    expecting = with_expecting(model).eval()
    assert expecting.config.expecting
    assert with_expecting(expecting) is expecting
    for heard in (noisy, torch.cat([noisy, around(model, expected=False)], dim=1)):
        torch.testing.assert_close(expecting(heard, t, text()), model(heard, t, text()))
    assert with_expecting(expecting, expecting=False).state_dict().keys() == model.state_dict().keys()
    with pytest.raises(InputError, match=r"there are 9 channels; expected 2 or 5$"):
        model(torch.cat([noisy, around(model)], dim=1), t, text())
    with pytest.raises(InputError, match="expecting is True and masked False"):
        unet(dataclasses.replace(SMALL, expecting=True))
