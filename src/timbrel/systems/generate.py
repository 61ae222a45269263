"""Sound from a class or a text (report 002): a denoiser of latents that attends to an encoded text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from timbrel.audio.mel import MelConfig
from timbrel.diffusion.masks import windowed
from timbrel.diffusion.samplers import Callback, Model, ddim, derived_seed, dpm_solver_pp_2m, guided, seeded_noise
from timbrel.models.autoencoder import MelAutoencoder
from timbrel.models.text import WordEncoder, WordsConfig
from timbrel.models.text_unet import Text, TextUNet, TextUNetConfig
from timbrel.systems.base import DiffusionSystem, Sampling, ScheduleConfig, require_equal
from timbrel.systems.foreign import CLIPText, CLIPTextConfig

FIT_LEVELS = 10  # of noise, at which a text is compared with none
FIT_SHARES = (0.97, 0.15)  # of the timesteps, first and last: nearer to pure noise one text is far better by chance


@dataclass(kw_only=True)
class GenerateSystem(DiffusionSystem):
    parts: ClassVar = {
        "codec": {"mel-autoencoder": MelAutoencoder},
        "text": {"words": WordEncoder, "clip": CLIPText},
        "denoiser": {"text-unet": TextUNet},
    }

    # Guidance is between these shares of the timesteps: with more noise than that, a whip or a bell is never struck.
    guided_shares: ClassVar = (0.2, 0.95)
    # Where it knows what is around, that says the rest: with less noise, guidance leads away from what was there.
    told_shares: ClassVar = (0.9, 1.0)

    codec: Any  # a network that is a `Codec`
    text: WordEncoder | CLIPText

    @property
    def window(self) -> int:
        """Latents along time that the denoiser sees at once: 48 s at 44.1 kHz."""
        return 512

    @property
    def overlap(self) -> int:
        """Of two windows of a long sound, in latents: 6 s at 44.1 kHz."""
        return 64

    @classmethod
    def build(
        cls,
        mel: MelConfig,
        codec: MelAutoencoder,
        text: WordsConfig | CLIPTextConfig,
        denoiser: TextUNetConfig,
        schedule: ScheduleConfig,
    ) -> GenerateSystem:
        """With fresh weights around a codec."""
        built = schedule.build()
        network = TextUNet(denoiser, built.alphas_cumprod, built.prediction_type)
        encoder = CLIPText(text) if isinstance(text, CLIPTextConfig) else WordEncoder(text)
        return cls(mel=mel, codec=codec, text=encoder, denoiser=network, schedule_config=schedule)

    def check(self) -> None:
        super().check()
        height, denoiser = self.mel.n_mels / self.codec.factor, self.denoiser.config
        require_equal("mel.n_mels / codec.factor and denoiser.latent_height", height, denoiser.latent_height)
        require_equal("text.width and denoiser.token_width", self.text.width, denoiser.token_width)

    @property
    def moves_words(self) -> bool:
        """Whether each take hears a text in a way of its own."""
        return isinstance(self.text, WordEncoder) and self.sampling.word_noise > 0

    def encode_text(self, text: str, seed: int | None = None) -> Text:
        """Tokens [1, length, width] of a wording, and their mask; for "" what the denoiser takes for no text.

        Args:
            seed: of a take, which hears the words moved by noise (`sampling.word_noise`), as training did, and farther:
                the words alone, in the middle of all that, lead to much the same sound again and again. None leaves
                them.

        Raises:
            InputError: a text without a word that is known.
        """
        null = self.denoiser.null_token.reshape(1, -1, self.text.width)
        if not text:
            return Text(null, torch.ones(null.shape[:2], dtype=torch.bool, device=null.device))
        read = self.text.read([self.text.simplified(text) or text])  # of a text of unknown words `read` says what it is
        if seed is not None and self.moves_words:
            words = read[0]
            noise = seeded_noise(words.shape[1:], [derived_seed(seed, "words")]) / words.shape[-1] ** 0.5
            read = (words + self.sampling.word_noise * noise, *read[1:])
        return Text(*self.text(*(tensor.to(null.device) for tensor in read)))

    def model(
        self,
        prompt: str,
        *,
        negative_prompt: str = "",
        guidance_scale: float = 1.0,
        seed: int | None = None,
    ) -> Model:
        """The denoiser of one wording, for a sampler: `model(x [batch, c, h, w], timesteps [batch])`.

        Of a denoiser that is `masked` x may hold what is around, too (`diffusion.masks.told`). Guidance then leads away
        from a sound that knows neither the text nor that. It counts between `guided_shares` of the timesteps, and where
        what is around is known, between `told_shares`.

        Args:
            prompt: what is to be heard; "" is anything.
            negative_prompt: what is not, in the place of classifier-free guidance's empty condition.
            guidance_scale: 1 is the condition as learned, more exaggerates what sets it apart.
            seed: of the take that hears the prompt so; see `encode_text`.

        Raises:
            InputError: as `encode_text`.
        """
        wanted = self._conditioned(self.encode_text(prompt, seed))
        other = self._conditioned(self.encode_text(negative_prompt))
        total, channels = self.schedule.num_train_timesteps, self.denoiser.config.latent_channels
        free, told = (
            guided(
                wanted,
                lambda x, t: other(x[:, :channels], t),
                guidance_scale,
                interval=(round(first * total), round(last * total)),
            )
            for first, last in (self.guided_shares, self.told_shares)
        )
        return lambda x, t: (free if x.shape[1] == channels else told)(x, t)

    @property
    def sampling(self) -> Sampling:
        return Sampling(**self.info.get("sampling", {}))

    def sample(
        self,
        model: Model,
        start: Tensor,
        timesteps: Tensor,
        noise: Sequence[torch.Generator],
        callback: Callback | None = None,
        *,
        temperature: float | None = None,
    ) -> Tensor:
        """Latents [batch, c, h, w] of a noised start, as the model is best sampled: with noise drawn anew in each step
        (`sampling.eta` and `temperature`), which mends what earlier steps got wrong; or, with none, in few steps.

        Args:
            model: as `model` gives it.
            noise: a generator for each sample.
            temperature: None is `sampling`'s.
        """
        eta, temperature = self.sampling.eta, self.sampling.temperature if temperature is None else temperature
        if not eta:
            return dpm_solver_pp_2m(model, start, self.schedule, timesteps, callback=callback)
        return ddim(
            model, start, self.schedule, timesteps, eta=eta, temperature=temperature, noise=noise, callback=callback
        )

    @torch.no_grad()
    def fits(self, prompt: str, latents: Tensor, mask: Tensor, seed: int) -> bool:
        """Whether a text says what a sound is: the denoiser then finds the sound in noise better with the text than
        without. What counts is the share of the error that the text saves, on the mean of `FIT_LEVELS` noise levels (a
        diffusion classifier: Li et al. 2023, arXiv 2303.16203). Of no sound no text does.

        Args:
            prompt: the text.
            latents: of one sound, [1, c, h, w].
            mask: bool, [h, w]: True where the sound counts.
            seed: of the noise.

        Raises:
            InputError: as `encode_text`.
        """
        moments = mask.any(dim=0).nonzero()
        if not len(moments):
            return False
        heard = slice(int(moments.min()), int(moments.max()) + 1)
        latents, mask = latents[..., heard], mask[:, heard]
        models = [
            windowed(self._conditioned(self.encode_text(text)), self.window, self.overlap) for text in (prompt, "")
        ]
        gain = 0.0
        for t in torch.linspace(*FIT_SHARES, FIT_LEVELS).mul(self.schedule.num_train_timesteps).long():
            noise = seeded_noise(latents.shape[1:], [derived_seed(seed, ("fits", int(t)))]).to(latents)
            noisy, target = (f(latents, noise, t) for f in (self.schedule.add_noise, self.schedule.target))
            answers = (model(noisy, t[None].to(latents.device)) for model in models)
            with_text, without = (float((answer - target).square()[..., mask].sum()) for answer in answers)
            gain += 1 - with_text / without
        return gain > 0

    def _conditioned(self, text: Text) -> Model:
        return lambda x, t: self.denoiser(x, t, text.expanded(len(x)))

    def latent_shape(self, frames: int) -> tuple[int, int, int]:
        """Latents [c, h, w] of a mel of so many frames: the whole patches that hold them."""
        config = self.denoiser.config
        return config.latent_channels, config.latent_height, -(-frames // self.codec.factor)
