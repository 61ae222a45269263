"""What regression loses, put back: a post-filter on predicted mels, as speech synthesis has long had them.

The mean of many possible answers is too even between the partials. Its attacks may rise too slowly. Its errors of some
dB on loud notes go upwards once in a while: a few cells then stand out over everything else. So the filter deepens the
valleys between bands, brings rises forward where a caller asks for that, and lowers the loudest cells. A better model
needs less of it. The constants are those of the model that ships, chosen on held-out scores of the training libraries.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def postfilter(
    mel: Tensor,
    floor_db: float,
    *,
    valley_gain: float = 1.0,
    valley_bands: int = 5,
    attack_lead: float = 0.0,
    peak_share: float = 0.0025,
    peak_ratio: float = 0.6,
) -> Tensor:
    """Deepens valleys, brings attacks forward and holds back peaks.

    Args:
        mel: [batch, 1, n_mels, frames], dB.
        floor_db: silence.
        valley_gain: how much further a band lies below the mean of its neighbours than before; 0 leaves it.
        valley_bands: how many bands the mean is of (odd).
        attack_lead: the share of the next frame's rise that a frame takes on already; decays stay as they are.
        peak_share: the share of cells, among frames within 40 dB of the loudest, that counts as peaks.
        peak_ratio: what is left of their height over the rest of those frames' cells, in dB; 1 leaves it.

    Returns:
        Mel of the same shape, at least `floor_db`.
    """
    half = valley_bands // 2
    around = F.avg_pool2d(F.pad(mel, (0, 0, half, half), mode="replicate"), (valley_bands, 1), stride=1)
    rise = F.pad(mel.diff(dim=-1), (0, 1)).clamp_min(0)
    mel = mel + valley_gain * (mel - around).clamp_max(0) + attack_lead * rise
    limited = []
    for sample in mel:
        loudest = sample.amax(dim=(0, 1))
        cells = sample[..., loudest > loudest.max() - 40].flatten()
        limit = cells.topk(max(1, round(peak_share * len(cells)))).values[-1]
        limited.append(torch.where(sample > limit, limit + peak_ratio * (sample - limit), sample))
    return torch.stack(limited).clamp_min(floor_db)
