import torch

from timbrel.models.postfilter import postfilter


def ripples(seed: int = 0) -> torch.Tensor:
    bands = torch.arange(64)[:, None]
    noise = torch.randn(1, 1, 64, 40, generator=torch.Generator().manual_seed(seed))
    return -60 + 6 * torch.cos(bands * 1.5) + noise


def test_deepens_valleys_and_keeps_ridges():
    mel = ripples()
    out = postfilter(mel, -100.0, peak_ratio=1.0)
    valley = mel < torch.nn.functional.avg_pool2d(mel, (5, 1), stride=1, padding=(2, 0))
    inner = torch.zeros_like(valley)
    inner[..., 2:-2, :] = True
    assert (out[valley & inner] < mel[valley & inner]).all()
    torch.testing.assert_close(out[~valley & inner], mel[~valley & inner])
    assert out.diff(dim=2).abs().mean() > 1.1 * mel.diff(dim=2).abs().mean()


def test_holds_back_what_stands_out():
    mel = ripples()
    mel[0, 0, 10, 5] = -20.0
    out = postfilter(mel, -100.0, valley_gain=0.0, peak_ratio=0.3)
    rest = float(mel.flatten().topk(7).values[-1])
    assert out.max() - rest < 0.35 * (-20.0 - rest)
    assert out.argmax() == mel.argmax()


def test_quiet_frames_do_not_move_the_limit():
    mel = ripples()
    quiet = torch.full((1, 1, 64, 400), -95.0)
    alone = postfilter(torch.cat([mel, quiet[..., :1]], dim=-1), -100.0)[..., :40]
    torch.testing.assert_close(postfilter(torch.cat([mel, quiet], dim=-1), -100.0)[..., :40], alone)


def test_silence_stays_and_samples_do_not_mix():
    silent = torch.full((1, 1, 64, 8), -100.0)
    assert (postfilter(silent, -100.0) == -100).all()
    batch = torch.cat([ripples(0), ripples(1)])
    torch.testing.assert_close(postfilter(batch, -100.0)[1:], postfilter(ripples(1), -100.0))


def test_attacks_come_forward_and_decays_stay():
    mel = torch.full((1, 1, 16, 9), -80.0)
    mel[..., 4:] = torch.tensor([-40.0, -45.0, -50.0, -55.0, -60.0])
    out = postfilter(mel, -100.0, valley_gain=0.0, peak_ratio=1.0, attack_lead=0.5)
    assert (out[..., 3] == -60.0).all()
    torch.testing.assert_close(out[..., 4:], mel[..., 4:])
    torch.testing.assert_close(out[..., :3], mel[..., :3])
