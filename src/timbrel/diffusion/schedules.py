"""Noise schedules: how much signal is left at each timestep, and what the network predicts.

`x_t = alpha(t) x_0 + sigma(t) epsilon` with `alpha^2 = abar`, `sigma^2 = 1 - abar` (variance preserving;
Ho et al. 2020, arXiv 2006.11239, eq. 4). Nothing here divides by a signal of zero.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from timbrel.errors import InputError

PREDICTION_TYPES = ("epsilon", "v", "sample")


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """A table of signal levels and the quantity that a network is trained to predict.

    Args:
        alphas_cumprod: `[T]` float64, abar of the timesteps 0 (almost clean) to T-1 (almost or all noise):
            strictly decreasing, in [0, 1).
        prediction_type: "epsilon" (the noise), "v" (`alpha epsilon - sigma x_0`; Salimans & Ho 2022,
            arXiv 2202.00512, appendix D) or "sample" (`x_0`).

    Raises:
        InputError: the table or the type is not one of those; or abar ends at exactly zero and the type is
            "epsilon", which says nothing about `x_0` where there is no signal.
    """

    alphas_cumprod: Tensor
    prediction_type: str = "epsilon"

    def __post_init__(self) -> None:
        abar = self.alphas_cumprod
        if self.prediction_type not in PREDICTION_TYPES:
            raise InputError(
                f"prediction_type is {self.prediction_type!r}; choose one of {', '.join(PREDICTION_TYPES)}"
            )
        if abar.ndim != 1 or not len(abar) or abar.dtype != torch.float64:
            raise InputError(
                f"alphas_cumprod has shape {tuple(abar.shape)} and type {abar.dtype}; give float64 values [T]"
            )
        if not (abar[-1] >= 0 and abar[0] < 1 and (abar.diff() < 0).all()):
            raise InputError(
                f"alphas_cumprod runs from {abar[0]:.4g} to {abar[-1]:.4g}; it must fall at every step, within [0, 1)"
            )
        if abar[-1] == 0 and self.prediction_type == "epsilon":
            raise InputError(
                "prediction_type is 'epsilon' with a zero-terminal-SNR schedule: the last timestep is all "
                "noise, and predicting that noise says nothing about the signal; choose 'v' or 'sample'"
            )

    @property
    def num_train_timesteps(self) -> int:
        return len(self.alphas_cumprod)

    def alpha(self, t: int | Tensor) -> Tensor:
        """Scale of the signal at timestep(s) `t`, float64, the shape of `t`."""
        return self.alphas_cumprod[t].sqrt()

    def sigma(self, t: int | Tensor) -> Tensor:
        """Scale of the noise at timestep(s) `t`, float64, the shape of `t`."""
        return (1 - self.alphas_cumprod[t]).sqrt()

    def _scales(self, t: int | Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """`alpha(t)` and `sigma(t)`, ready to be multiplied with `x` `[batch, ...]`."""
        if isinstance(t, int) or t.ndim == 0:
            return self.alpha(int(t)), self.sigma(int(t))  # 0-d: fits any device and keeps the type of x
        t = t.to(x.device).view(-1, *[1] * (x.ndim - 1))
        abar = self.alphas_cumprod
        # Roots in float64, then the cast: 1 - abar loses its digits in float32 where there is little noise.
        return abar.sqrt().to(x.dtype).to(x.device)[t], (1 - abar).sqrt().to(x.dtype).to(x.device)[t]

    def add_noise(self, x0: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
        """`x_t` from `x0` and standard normal `noise`, both `[batch, ...]`; `t` one integer or `[batch]`."""
        alpha, sigma = self._scales(t, x0)
        return alpha * x0 + sigma * noise

    def target(self, x0: Tensor, noise: Tensor, t: int | Tensor) -> Tensor:
        """What the network should answer to `add_noise(x0, noise, t)`."""
        alpha, sigma = self._scales(t, x0)
        if self.prediction_type == "v":
            return alpha * noise - sigma * x0
        return noise if self.prediction_type == "epsilon" else x0

    def to_x0(self, prediction: Tensor, x_t: Tensor, t: int | Tensor) -> Tensor:
        """The clean signal that a prediction at `x_t` stands for."""
        alpha, sigma = self._scales(t, x_t)
        if self.prediction_type == "epsilon":
            return (x_t - sigma * prediction) / alpha
        return alpha * x_t - sigma * prediction if self.prediction_type == "v" else prediction

    def to_epsilon(self, prediction: Tensor, x_t: Tensor, t: int | Tensor) -> Tensor:
        """The noise that a prediction at `x_t` stands for."""
        alpha, sigma = self._scales(t, x_t)
        if self.prediction_type == "sample":
            return (x_t - alpha * prediction) / sigma
        return sigma * x_t + alpha * prediction if self.prediction_type == "v" else prediction

    def to_prediction(self, x0: Tensor, x_t: Tensor, t: int | Tensor) -> Tensor:
        """The prediction at `x_t` that stands for a clean signal: the inverse of `to_x0`."""
        alpha, sigma = self._scales(t, x_t)
        if self.prediction_type == "epsilon":
            return (x_t - alpha * x0) / sigma
        return (alpha * x_t - x0) / sigma if self.prediction_type == "v" else x0


def linear_schedule(
    num_train_timesteps: int = 1000,
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
    *,
    prediction_type: str = "epsilon",
    zero_terminal_snr: bool = False,
) -> NoiseSchedule:
    """Betas on a straight line (Ho et al. 2020, arXiv 2006.11239, section 4).

    The ends belong to 1000 steps: with fewer of the same, the last step is far from noise; ask for
    `zero_terminal_snr` then.

    Raises:
        InputError: not `0 < beta_start <= beta_end < 1`, fewer than 2 timesteps, or see `NoiseSchedule`.
    """
    _check_timesteps(num_train_timesteps)
    if not 0 < beta_start <= beta_end < 1:
        raise InputError(f"beta_start {beta_start}, beta_end {beta_end}: expected 0 < beta_start <= beta_end < 1")
    betas = torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float64)
    return _from_betas(betas, prediction_type, zero_terminal_snr)


def scaled_linear_schedule(
    num_train_timesteps: int = 1000, *, prediction_type: str = "epsilon", zero_terminal_snr: bool = False
) -> NoiseSchedule:
    """Square roots of betas on a straight line, from 0.00085 to 0.012: Stable Diffusion's (Rombach et al. 2022, arXiv
    2112.10752; the values are in its configuration).

    Raises:
        InputError: fewer than 2 timesteps, or see `NoiseSchedule`.
    """
    _check_timesteps(num_train_timesteps)
    roots = torch.linspace(math.sqrt(0.00085), math.sqrt(0.012), num_train_timesteps, dtype=torch.float64)
    return _from_betas(roots.square(), prediction_type, zero_terminal_snr)


def cosine_schedule(
    num_train_timesteps: int = 1000, *, prediction_type: str = "epsilon", zero_terminal_snr: bool = False
) -> NoiseSchedule:
    """abar as a squared cosine, betas at most 0.999 (Nichol & Dhariwal 2021, arXiv 2102.09672, eq. 17).

    Raises:
        InputError: fewer than 2 timesteps, or see `NoiseSchedule`.
    """
    _check_timesteps(num_train_timesteps)
    s = 0.008
    time = torch.linspace(0, 1, num_train_timesteps + 1, dtype=torch.float64)
    f = ((time + s) / (1 + s) * math.pi / 2).cos() ** 2
    return _from_betas((1 - f[1:] / f[:-1]).clamp(max=0.999), prediction_type, zero_terminal_snr)


def zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """`alphas_cumprod` `[T]` shifted and scaled so that it ends at exactly 0 and its first value stays.

    Lin et al. 2023, arXiv 2305.08891, algorithm 1.
    """
    root = alphas_cumprod.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2


def inference_timesteps(
    schedule: NoiseSchedule, num_inference_steps: int, *, start: float = 1.0, shift: float = 1.0
) -> Tensor:
    """The timesteps a sampler visits: `[n]` long, descending; a last step leads from the final one to clean.

    Evenly spaced back from the noisiest ("trailing", Lin et al. 2023, arXiv 2305.08891, section 3.3).

    Args:
        schedule: the schedule of the network.
        num_inference_steps: how many, 1 to T. All T of them is the training chain.
        start: where to begin, as a fraction of the T timesteps: 1 begins at T-1; less begins at content
            noised with `schedule.add_noise(x0, noise, timesteps[0])`; 0 gives no timesteps, a sampler then
            returns its start. Where fewer than `num_inference_steps` remain, each is visited once.
        shift: above 1 has more of them where it is noisy (`shifted`); of many, those that fall on one timestep are one.

    Raises:
        InputError: `num_inference_steps`, `start` or `shift` is out of range.

    >>> inference_timesteps(cosine_schedule(1000), 4)
    tensor([999, 749, 499, 249])
    >>> inference_timesteps(cosine_schedule(1000), 4, start=0.5)
    tensor([499, 374, 249, 124])
    >>> inference_timesteps(cosine_schedule(1000), 4, shift=4.0)
    tensor([999, 922, 799, 570])
    """
    total = schedule.num_train_timesteps
    if not 1 <= num_inference_steps <= total:
        raise InputError(f"num_inference_steps is {num_inference_steps}; the schedule allows 1 to {total}")
    if not 0 <= start <= 1:
        raise InputError(f"start is {start}; expected 0 (clean) to 1 (noise)")
    if not 0 < shift < math.inf:
        raise InputError(f"shift is {shift}; expected a number above 0: 1 is none")
    first = round(start * total)
    n = min(num_inference_steps, first)
    even = torch.arange(n, 0, -1, dtype=torch.float64) * (first / max(n, 1))
    if shift == 1:
        return even.round().long() - 1
    even *= shifted(even[:1] / total, 1 / shift) / max(first, 1)  # so that the first is where it was
    return ((shifted(even, shift) * total).round().long().clamp_min(1) - 1).unique().flip(0)


def shifted(shares: Tensor, shift: float) -> Tensor:
    """Shares of the way to pure noise, 0 to 1, moved towards it: s t / (1 + (s - 1) t), the timestep shift of Esser et
    al. 2024 (arXiv 2403.03206, equation 23). Above 1 more of evenly drawn ones are noisy; 1 leaves them.

    >>> shifted(torch.tensor([0.0, 0.5, 1.0]), 4.0)
    tensor([0.0000, 0.8000, 1.0000])
    """
    return shift * shares / (1 + (shift - 1) * shares)


def _check_timesteps(num_train_timesteps: int) -> None:
    if num_train_timesteps < 2:
        raise InputError(f"num_train_timesteps is {num_train_timesteps}; expected at least 2 (usually 1000)")


def _from_betas(betas: Tensor, prediction_type: str, zero_snr: bool) -> NoiseSchedule:
    abar = (1 - betas).cumprod(0)
    return NoiseSchedule(zero_terminal_snr(abar) if zero_snr else abar, prediction_type)
