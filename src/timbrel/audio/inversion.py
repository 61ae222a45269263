"""Mel spectrogram in dB -> waveform, of any length.

Griffin-Lim needs linear magnitudes, and a mel spectrogram does not have them: many spectra share one mel. So
here the iteration fits the mel itself. Each step takes the spectrum of the current waveform, multiplies every
band by the factor that it lacks (the multiplicative update X <- X * Ft(M / FX) of EM and NNLS; on amplitudes
its root) and goes back to a waveform. Whatever the bands leave open, the consistency of the spectrum with a
waveform settles. The momentum of fast Griffin-Lim (Perraudin, Balazs and Sondergaard, 2013) acts on the
waveform: the STFT is linear, so this is the same, and cheaper.

The start matters more than the number of steps: energies sharpened within the bands by that update, and phases
that follow the partials (a phase vocoder locked to spectral peaks: Laroche and Dolson, 1999; Beauregard, Harish
and Wyse, 2015) with the group delay that the growth of each peak tells (Prusa, Balazs and Sondergaard, 2017).
Higher up, where bands hide the partials, phases are the source's, or random; where a band rises steeply, those of
a stroke with that delay.

Long signals are made segment by segment. Each segment begins in the end of the segment before, and keeps its samples
there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import pad

from timbrel.audio.mel import MelConfig, mel_filters, sparse_mel_filters, window
from timbrel.errors import InputError

SEGMENT = 128  # frames that one segment adds
AHEAD = 2  # frames that a segment sees beyond those, and leaves to the next
RESOLVED = 3.5  # where bands lie more bins apart than this, partials cannot be followed
SHARPEN, SHARPEN_RESOLVED = 2, 20  # updates of the first energies: of all, then of the resolved bands
ATTACK = 0.5  # a band is struck, all its bins at one time, where its log-amplitude grows by more in a frame
MOMENTUM = 0.9
GAMMA = 0.25645  # a Hann window of n samples resembles the Gaussian exp(-pi t^2 / (GAMMA n^2))
NOISE = 1e-5  # amplitude added to a source, so that every band has something to scale
TINY = 1e-20


def invert_mel(
    mel: Tensor,
    config: MelConfig,
    *,
    length: int | None = None,
    source: Tensor | None = None,
    num_iters: int = 10,
    seed: int = 0,
) -> Tensor:
    """Make a waveform that has the given mel spectrogram, on the CPU.

    Args:
        mel: [batch, 1, n_mels, frames], dB as `mel_spectrogram` gives; bands at `config.floor_db` are silent.
        config: what the mel was made with.
        length: samples of the result; by default those of the source, else (frames - 1) * hop_length.
        source: [batch, 1, samples], a recording of the same moments: gives first phases and fine structure.
        num_iters: steps. More come closer, at a cost that grows alike.
        seed: of the random first phases. A batch gives for each mel what the mel alone would give.

    Returns:
        Waveform [batch, 1, length], float32.

    Raises:
        InputError: if shapes do not fit each other or the length, or if a value is not finite.
    """
    if mel.ndim != 4 or len(mel) == 0 or (source is not None and (source.ndim != 3 or len(source) != len(mel))):
        shapes = f"mel has shape {tuple(mel.shape)}" + (f", source {tuple(source.shape)}" if source is not None else "")
        raise InputError(f"{shapes}; expected [batch, 1, n_mels, frames] and [batch, 1, samples]")
    results = []
    for i in range(len(mel)):
        stream = StreamInverter(config, num_iters=num_iters, seed=seed)
        first = stream.push(mel[i : i + 1], None if source is None else source[i : i + 1])
        results.append(torch.cat([first, stream.finish(length)], -1))
    return torch.cat(results)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread: for thousands of short operations, waiting for a second one costs more than it saves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class StreamInverter:
    """`invert_mel` for any length in bounded memory. The output does not depend on the sizes of the pushes.

    Args:
        config, num_iters, seed: as for `invert_mel`.

    Example:
        >>> stream = StreamInverter(MelConfig())
        >>> parts = [stream.push(mel) for mel in torch.full((3, 1, 1, 256, 50), -100.0)]
        >>> torch.cat([*parts, stream.finish()], -1).shape
        torch.Size([1, 1, 152576])
    """

    def __init__(self, config: MelConfig, *, num_iters: int = 10, seed: int = 0) -> None:
        if num_iters < 0:
            raise InputError(f"num_iters is {num_iters}; expected 0 or more")
        self.config, self.num_iters = config, num_iters
        self._transform = _Transform(config)
        self._bands = _Bands(mel_filters(config), sparse_mel_filters(config))
        self._resolved = _resolved_bands(config)
        self._generator = torch.Generator().manual_seed(seed)
        # What the next segment sees. The waveforms begin where the window of its first frame does (for the very
        # first: half a window before the first sample).
        self._mel = torch.zeros(0, config.n_mels)
        self._source: Tensor | None = None
        self._before: Tensor | None = None  # samples given out already, then those that the last segment saw ahead
        self._first_frame = 0
        self._num_source_samples = 0

    @_one_thread()
    @torch.no_grad()
    def push(self, mel: Tensor, source: Tensor | None = None) -> Tensor:
        """Take the next frames, and give the samples that are ready.

        Args:
            mel: [1, 1, n_mels, frames], dB.
            source: [1, 1, samples], the next samples of the source: with every push or with none.

        Returns:
            Waveform [1, 1, samples], perhaps of no samples.

        Raises:
            InputError: if a shape does not fit, or a value is not finite.
        """
        config, transform = self.config, self._transform
        if mel.ndim != 4 or mel.shape[:3] != (1, 1, config.n_mels):
            raise InputError(f"mel has shape {tuple(mel.shape)}; expected [1, 1, {config.n_mels}, frames]")
        if source is not None and (source.ndim != 3 or source.shape[:2] != (1, 1)):
            raise InputError(f"source has shape {tuple(source.shape)}; expected [1, 1, samples]")
        if not (mel.isfinite().all() and (source is None or source.isfinite().all())):
            raise InputError("mel or source holds NaN or infinite values; expected finite ones")
        if self._first_frame + len(self._mel) > 0 and (source is None) != (self._source is None):
            raise InputError("source came with a part of the frames; give it with every push or with none")
        self._mel = torch.cat([self._mel, mel[0, 0].T.float().cpu()])
        if source is not None:
            before = torch.zeros(config.n_fft // 2) if self._source is None else self._source
            self._source = torch.cat([before, source[0, 0].float().cpu()])
            self._num_source_samples += source.shape[-1]
        added = SEGMENT + transform.overlap - 1
        samples = transform.num_samples(added + AHEAD)
        ready = [torch.zeros(0)]
        while len(self._mel) >= added + AHEAD and (self._source is None or len(self._source) >= samples):
            ready.append(self._segment(added + AHEAD, added * config.hop_length))
        return torch.cat(ready)[None, None]

    @_one_thread()
    @torch.no_grad()
    def finish(self, length: int | None = None) -> Tensor:
        """Give the rest.

        Args:
            length: samples of all together; by default those of the source, else (frames - 1) * hop_length.

        Returns:
            Waveform [1, 1, samples].

        Raises:
            InputError: if so many samples have another number of frames.
        """
        hop, frames = self.config.hop_length, self._first_frame + len(self._mel)
        if length is None:
            length = (frames - 1) * hop if self._source is None else self._num_source_samples
        if frames == 0 or self.config.num_frames(length) != frames:
            expected = f"{(frames - 1) * hop} to {frames * hop - 1} for {frames} frames" if frames else "frames first"
            raise InputError(f"length is {length} samples; expected {expected}")
        if self._source is not None:
            missing = self._transform.num_samples(len(self._mel)) - len(self._source)
            self._source = pad(self._source, (0, max(0, missing)))
        end = length - self._first_frame * hop + self.config.n_fft // 2
        return self._segment(len(self._mel), end, last=True)[None, None]

    def _segment(self, frames: int, end: int, *, last: bool = False) -> Tensor:
        """Make the waveform of the next frames; give its samples up to `end`, without those given before."""
        transform, bands, hop = self._transform, self._bands, self.config.hop_length
        power = torch.where(self._mel[:frames] > self.config.floor_db, 10 ** (self._mel[:frames] / 10), 0)
        envelope = transform.envelope(frames)
        earlier, weight = torch.zeros_like(envelope), torch.zeros_like(envelope)
        if self._before is None:
            begin = self.config.n_fft // 2
            envelope[:begin] = 0
        else:
            begin = (transform.overlap - 1) * hop
            earlier[: len(self._before)] = self._before[: len(earlier)]
            weight[:begin] = 1
            weight[begin : begin + hop] = torch.linspace(1, 0, hop)
        if last:
            envelope[end:] = 0

        def waveform(spectrum: Tensor) -> Tensor:
            return torch.lerp(transform.inverse(spectrum).mul_(envelope), earlier, weight)

        estimate = extrapolated = waveform(self._start(power))
        for _ in range(self.num_iters):
            previous, estimate = estimate, waveform(bands.fit(transform.forward(extrapolated), power))
            extrapolated = torch.lerp(previous, estimate, 1 + MOMENTUM)
        self._mel = self._mel[SEGMENT:]
        self._before = estimate[SEGMENT * hop :].clone()
        self._first_frame += SEGMENT
        if self._source is not None:
            self._source = self._source[SEGMENT * hop :]
        return estimate[begin:end]

    def _start(self, power: Tensor) -> Tensor:
        """First spectrum of a segment, complex [frames, bins]."""
        transform, bands, resolved, n = self._transform, self._bands, self._resolved, self.config.n_fft
        if self._source is None:
            energy = bands.up(power)
            phase = 2 * math.pi * torch.rand(energy.shape, generator=self._generator)
        else:
            source = self._source[: transform.num_samples(len(power))]
            spectrum = transform.forward(source + NOISE * torch.randn(source.shape, generator=self._generator))
            energy, phase = _energy(spectrum), spectrum.angle()
        level = 0.5 * power.clamp_min(TINY).log()
        pulse = math.pi * torch.arange(bands.bins) - bands.up(2 * math.pi / n * _delay(level, self.config)).cumsum(1)
        rises = (level.diff(dim=0, prepend=level[:1]) > ATTACK).float()
        phase = torch.where(bands.up(rises) > 0.5, pulse, phase)
        energy = bands.sharpen(energy, power, SHARPEN)
        low = energy[:, : resolved.bins]
        low[:] = resolved.sharpen(low, power[:, : resolved.bands], SHARPEN_RESOLVED)
        if self._before is None:
            phase[:, : resolved.bins] = _follow(low, phase[0, : resolved.bins], self.config)
            return torch.polar(energy.sqrt(), phase)
        earlier = transform.forward(self._before)[: transform.overlap - 1]
        last = len(earlier) - 1
        phase[last:, : resolved.bins] = _follow(low[last:], earlier[last, : resolved.bins].angle(), self.config)
        return torch.cat([earlier, torch.polar(energy.sqrt(), phase)[last + 1 :]])


class _Transform:
    """A waveform [samples] <-> its spectrum [frames, bins], scaled as by `mel.stft` but not padded."""

    def __init__(self, config: MelConfig) -> None:
        self.n_fft, self.hop = config.n_fft, config.hop_length
        self.overlap = -(-self.n_fft // self.hop)  # frames that share a sample
        self.window = window(config) * 2 / window(config).sum()

    def num_samples(self, frames: int) -> int:
        return (frames - 1) * self.hop + self.n_fft

    def forward(self, waveform: Tensor) -> Tensor:
        return torch.fft.rfft(waveform.unfold(0, self.n_fft, self.hop) * self.window)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Overlap-add; `envelope` is still to be multiplied in."""
        return self._overlap_add(torch.fft.irfft(spectrum, self.n_fft).mul_(self.window))

    def envelope(self, frames: int) -> Tensor:
        squares = self._overlap_add(self.window.square().expand(frames, -1))
        return 1 / squares.clamp_min(0.1 * float(squares.max()))  # bounded where the outermost windows fade

    def _overlap_add(self, frames: Tensor) -> Tensor:
        total = torch.zeros(len(frames) + self.overlap - 1, self.hop)
        for i, part in enumerate(frames.split(self.hop, 1)):
            total[i : i + len(frames), : part.shape[1]] += part
        return total.view(-1)[: self.num_samples(len(frames))]


class _Bands:
    """Energies of bins [frames, bins] <-> those of bands [frames, bands].

    A bin lies in two neighbouring bands at most: the products are sparse, and `up` is two look-ups.
    """

    def __init__(self, filters: Tensor, sparse: Tensor) -> None:
        self.bands, self.bins = filters.shape
        self.filters = sparse
        self.lower = (filters > 0).byte().argmax(0)
        self.upper = (self.lower + 1).clamp_max(self.bands - 1)
        shares = filters / filters.sum(0).clamp_min(TINY)
        self.lower_share = shares.gather(0, self.lower[None])[0]
        self.upper_share = shares.sum(0) - self.lower_share

    def down(self, energy: Tensor) -> Tensor:
        return torch.sparse.mm(self.filters, energy.T).T

    def up(self, bands: Tensor) -> Tensor:
        """Each bin gets the mean of its bands, weighted by their shares; a bin without a band gets 0."""
        bands = bands.contiguous()
        energy = bands.index_select(1, self.lower).mul_(self.lower_share)
        return energy.addcmul_(bands.index_select(1, self.upper), self.upper_share)

    def fit(self, spectrum: Tensor, power: Tensor) -> Tensor:
        """Scale every band of the spectrum to its power, in place."""
        return spectrum.mul_(self.up((power / (self.down(_energy(spectrum)) + TINY)).sqrt()))

    def sharpen(self, energy: Tensor, power: Tensor, steps: int) -> Tensor:
        """Energies that come nearer to the power of all bands at once."""
        for _ in range(steps):
            energy = energy * self.up(power / (self.down(energy) + TINY))
        return energy


def _resolved_bands(config: MelConfig) -> _Bands:
    """The lowest bands, as far as partials can be followed."""
    filters = mel_filters(config)
    wide = (filters > 0).sum(1) > 2 * RESOLVED
    bands = int(wide.byte().argmax()) if wide.any() else config.n_mels
    bins = int((filters[: max(1, bands)] > 0).any(0).nonzero().max()) + 1
    low = filters[: max(1, bands), : max(3, bins)]
    return _Bands(low, low.to_sparse_csr())


def _energy(spectrum: Tensor) -> Tensor:
    return (spectrum * spectrum.conj()).real  # half the time of the squares' sum


def _delay(level: Tensor, config: MelConfig) -> Tensor:
    """How many samples after the centre of its frame a sound lies, from the growth of its log-amplitude."""
    around = torch.cat([level[:1], level, level[-1:]])
    growth = (around[2:] - around[:-2]) / (2 * config.hop_length)
    return (GAMMA * config.n_fft**2 / (2 * math.pi) * growth).clamp(-config.n_fft / 2, config.n_fft / 2)


def _follow(energy: Tensor, first: Tensor, config: MelConfig) -> Tensor:
    """Phases [frames, bins] that go on from those of the first frame, [bins], along the partials."""
    n, hop = config.n_fft, config.hop_length
    frames, bins = energy.shape
    index = torch.arange(bins)
    level = 0.5 * energy.clamp_min(TINY).log()
    left, here, right = level[:, :-2], level[:, 1:-1], level[:, 2:]
    is_peak = pad((here > left) & (here >= right), (1, 1))
    offset = (0.5 * (left - right) / (left - 2 * here + right).clamp_max(-1e-6)).clamp(-0.5, 0.5)
    below = torch.where(is_peak, index, -bins).cummax(1).values
    above = torch.where(is_peak, index, 2 * bins).flip(1).cummin(1).values.flip(1)
    peak = torch.where(index - below <= above - index, below, above).clamp(0, bins - 1)
    frequency = (index + pad(offset, (1, 1))).gather(1, peak)
    delay = _delay(level, config).gather(1, peak)
    step = 2 * math.pi * hop / n * frequency
    # Seen from the centre of a frame, all bins around a partial have one phase.
    phase = torch.empty_like(energy)
    phase[0] = first + math.pi * index
    rows, steps, peaks = phase.numpy(), step.numpy(), peak.numpy()  # whose small steps cost less
    for i in range(1, frames):
        rows[i] = (rows[i - 1] + steps[i])[peaks[i]]
    phase[1:] -= (2 * math.pi / n * delay * (index - frequency))[1:]
    return phase + math.pi * index
