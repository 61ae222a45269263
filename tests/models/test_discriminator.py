import torch

from timbrel.models.discriminator import DiscriminatorConfig, LatentDiscriminator

CONFIG = DiscriminatorConfig(latent_channels=2, latent_height=16, width=8)


def latents(seed, frames=12):
    return torch.randn(3, 2, 16, frames, generator=torch.Generator().manual_seed(seed))


def network():
    torch.manual_seed(0)
    return LatentDiscriminator(CONFIG)


def test_scores_are_of_patches_at_two_scales():
    scores, maps = network()(latents(0), latents(1), latents(2, frames=30))
    assert [tuple(one.shape) for one in scores] == [(3, 1, 4, 12), (3, 1, 1, 6)]
    assert [one.shape[1] for one in maps] == [8, 16, 16, 24, 24]


def test_every_input_counts_and_samples_do_not_meet():
    net, inputs = network(), [latents(0), latents(1), latents(2)]
    before = net(*inputs)[0]
    for k in range(3):
        changed = [x.clone() for x in inputs]
        changed[k][0] += 1
        for a, b in zip(before, net(*changed)[0], strict=True):
            assert not torch.allclose(a[0], b[0])
            torch.testing.assert_close(a[1:], b[1:])


def test_it_learns_to_tell_the_smooth_from_the_true():
    net = network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    content, style = latents(1), latents(2)

    def gap(seed):
        true = latents(seed)
        made = torch.nn.functional.avg_pool2d(true, 3, stride=1, padding=1)
        return [net(x, content, style)[0] for x in (true, made)]

    for seed in range(30):
        right, wrong = gap(seed)
        loss = sum((1 - a).relu().mean() + (1 + b).relu().mean() for a, b in zip(right, wrong, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    right, wrong = gap(100)
    assert all(a.mean() > b.mean() + 0.5 for a, b in zip(right, wrong, strict=True))
