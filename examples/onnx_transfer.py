"""A recording on another instrument, without torch:

    timbrel export --to onnx -o FOLDER
    python examples/onnx_transfer.py FOLDER SOURCE INSTRUMENT|CLIP OUTPUT

Needs numpy, scipy, soundfile and onnxruntime alone. All of a file is transferred in one go; timbrel itself goes window
by window, follows loud and soft passages, keeps stereo, and starts its phases better.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
from scipy.signal import resample_poly

folder, source, to, output = sys.argv[1:]
model, tables = json.loads(Path(folder, "model.json").read_text()), np.load(Path(folder, "tables.npz"))
mel, filters, window, factor = model["mel"], tables["filters"], tables["window"], model["factor"]
rate, n_fft, hop, floor_db = mel["sample_rate"], mel["n_fft"], mel["hop_length"], mel["floor_db"]
if model["sampling"]["steps"] != 1:
    sys.exit(f"{folder} is sampled in {model['sampling']['steps']} steps; this example takes models of one step")
scale = 2 / window.sum()  # a full-scale sine has magnitude 1


def run(network, **inputs):
    return onnxruntime.InferenceSession(Path(folder, f"{network}.onnx")).run(None, inputs)[0]


def read(path):
    """[samples] at the model's rate and level."""
    samples, its_rate = soundfile.read(path, dtype="float32")
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    mono = resample_poly(mono, rate, its_rate)
    level = np.sqrt(np.square(mono).mean()) if len(mono) else 0
    if level < 1e-6:
        sys.exit(f"{path} is silent; expected a recording with sound")
    return mono * 10 ** (model["level_db"] / 20) / level, level


def stft(samples):
    """[samples] -> [frames, bins]."""
    padded = np.pad(samples, n_fft // 2)
    return np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop] * window * scale)


def istft(spectrum, length):
    frames, total = np.fft.irfft(spectrum, n_fft) * window / scale, np.zeros((2, length + 2 * n_fft))
    for k, frame in enumerate(frames):
        total[:, k * hop : k * hop + n_fft] += frame, window**2
    return (total[0] / total[1].clip(0.1))[n_fft // 2 :][:length]


def mel_db(spectrum):
    """[frames, bins] -> [1, 1, bands, frames]."""
    power = filters @ np.square(np.abs(spectrum)).T
    return (10 * np.log10(power.clip(10 ** (floor_db / 10))))[None, None].astype(np.float32)


def pad_to(mel, frames):
    """With silence after it, up to so many frames."""
    missing = max(0, frames - mel.shape[-1])
    return np.pad(mel, ((0, 0), (0, 0), (0, 0), (0, missing)), constant_values=floor_db)


def invert(wanted_db, spectrum, length):
    """Griffin-Lim on the mel itself: every band gets the level that it lacks, starting from the source's spectrum."""
    power = np.where(wanted_db > floor_db, 10 ** (wanted_db / 10), 0)
    shares, before = filters / filters.sum(axis=0).clip(1e-20), 0
    spectrum = spectrum + 1e-5 * np.random.default_rng(0).standard_normal(spectrum.shape)
    for step in range(20):
        spectrum = spectrum * np.sqrt(shares.T @ (power / (filters @ np.square(np.abs(spectrum)).T + 1e-20))).T
        samples = istft(spectrum, length)
        spectrum, before = stft(samples + 0.9 * (samples - before) if step else samples), samples  # fast Griffin-Lim
    return before


instruments = np.load(Path(folder, "instruments.npz"))
if to in instruments:
    tokens = instruments[to][None]
else:
    tokens = run("style", mel=pad_to(mel_db(stft(read(to)[0][: 10 * rate])), 4 * factor))
samples, level = read(source)
spectrum = stft(samples)
heard = mel_db(spectrum)
frames = heard.shape[-1]
content = run("encoder", mel=pad_to(heard, frames + -frames % factor))
noise = np.random.default_rng(0).standard_normal(content.shape, np.float32)
timesteps = np.array([len(tables["alphas_cumprod"]) - 1])  # pure noise: the model that ships needs one step
latents = run("denoiser", noisy_latents=noise, timesteps=timesteps, content=content, tokens=tokens)
result = invert(run("decoder", latents=latents)[0, 0, :, :frames], spectrum, len(samples))
result *= level / (np.sqrt(np.square(result).mean()) + 1e-9)
soundfile.write(output, result / max(1, np.abs(result).max()), rate)
