"""`timbrel reproduce`: the tables and figures of the reports, computed anew."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from timbrel.files import claimed

_TABLE = "(default: as the tables)"


def report_001(
    *,
    out: Path,
    quick: bool = False,
    budget: Annotated[Literal["cpu", "gpu"] | None, arg(help_behavior_hint="(default: gpu where CUDA is)")] = None,
    data: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: rendered)")] = None,
    networks: Annotated[tuple[str, ...], arg(metavar="FILE...", help_behavior_hint="(default: none)")] = (),
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a processor)")] = None,
) -> None:
    """Compute the table and the figures of report 001: transfer by latent diffusion, judged on rendered audio.

    For example:

        timbrel reproduce 001 --out a-look --quick
        timbrel reproduce 001 --out report-001

    Needs the extras [train] and [data], TiMidity++ and a sample library. Both stages and 13 variants are trained: by
    the cpu budget in about 40 minutes of one core, by the gpu budget for the report's 100 and 200 epochs and 20 a
    variant, about 500,000 steps, which has not been timed. OUT/index.html has the results, and why they differ from the
    report's.

    Args:
        out: The folder for tables, figures, audio and models; a second run goes on where the first stopped.
        quick: A budget of two or three minutes, to see that it works.
        budget: How long to train; the cpu budget also runs on a GPU.
        data: A mel store to train on, of the report's mels, instead of one that is rendered.
        networks: Weights of VGGish or LPIPS (files, or hf:OWNER/REPO/FILE), each compared as a judge of style.
        workers: Processes that render.
    """
    from timbrel.experiments.report_001.run import reproduce

    with claimed(out):
        reproduce(out, quick=quick, budget=budget, data=data, networks=networks, workers=workers)


def report_002(
    *,
    out: Path,
    quick: bool = False,
    budget: Annotated[Literal["cpu", "gpu"] | None, arg(help_behavior_hint="(default: gpu where CUDA is)")] = None,
    data: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: made)")] = None,
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a processor)")] = None,
) -> None:
    """Compute the table and the figures of report 002: sound from a class, square and wide pictures.

    For example:

        timbrel reproduce 002 --out a-look --quick
        timbrel reproduce 002 --out report-002 --data data/sounds

    Needs the extra [train], and what `timbrel data sounds` needs. A generator over our codec and the report's kind of
    network, over square pictures, are trained from nothing on the same sounds. OUT/index.html has the results, and
    where they differ from the report's.

    Args:
        out: The folder for tables, figures, audio and models; a second run goes on where the first stopped.
        quick: A budget of a few minutes, on computed sounds, to see that it works.
        budget: How long to train; the cpu budget also runs on a GPU.
        data: A mel store of labelled sounds, instead of one that is made.
        workers: Processes that make sounds.
    """
    from timbrel.experiments.report_002.run import reproduce

    with claimed(out):
        reproduce(out, quick=quick, budget=budget, data=data, workers=workers)


def report_003(
    *,
    out: Path,
    quick: bool = False,
    models: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None,
    encoder: Literal["timbrel-features", "vggish", "clap"] = "timbrel-features",
    weights: Annotated[str | None, arg(metavar="FILE|FOLDER|ID", help_behavior_hint="")] = None,
    forward_steps: Annotated[tuple[int, ...], arg(metavar="F...", help_behavior_hint=_TABLE)] = (),
    starts: Annotated[tuple[int, ...], arg(metavar="K...", help_behavior_hint=_TABLE)] = (),
    clips: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: 100, quick: 12)")] = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    seed: int = 0,
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: all)")] = None,
) -> None:
    """Compute the tables of report 003: Fréchet audio distances of cross-diffusion, and what they hide.

    For example:

        timbrel reproduce 003 --out a-look --quick
        timbrel reproduce 003 --out report-003 --precision bf16
        timbrel reproduce 003 --out of-mine --models runs

    Needs the extras [data] and [metrics], TiMidity++, and a sample library that training uses; basic-pitch to count
    notes.

    Args:
        out: The folder for the tables, heat maps and audio; a second run goes on where the first stopped.
        quick: Nine cells of few clips, to see that it works.
        models: A folder with models of a guitar and a violin (of `timbrel train single`), beside those that ship.
        encoder: What listens for the distances.
        weights: Its weights; see `timbrel evaluate distance`.
        forward_steps: How far sources are noised, of 500 steps: the tables' rows.
        starts: Denoising steps that are skipped, of 50: the tables' columns.
        clips: How many a cell; notes are counted in a third of them.
        precision: Of the denoiser; bf16 is faster where the processor has it.
        seed: Other passages and other noise.
        workers: Processors to use.
    """
    from timbrel.experiments.report_003.run import reproduce

    with claimed(out):
        reproduce(
            out,
            quick=quick,
            models=models,
            encoder=encoder,
            weights=weights,
            forward_steps=forward_steps or None,
            starts=starts or None,
            clips=clips,
            precision=precision,
            seed=seed,
            workers=workers,
        )


def report_004(
    *,
    out: Path,
    quick: bool = False,
    budget: Annotated[Literal["cpu", "gpu"] | None, arg(help_behavior_hint="(default: gpu where CUDA is)")] = None,
    data: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: made)")] = None,
    paintings: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(default: none)")] = None,
    model: Annotated[str | None, arg(metavar="NAME|FOLDER", help_behavior_hint="")] = None,
    space: Literal["timbrel-paint", "clap-clip"] = "timbrel-paint",
    clap: Annotated[str | None, arg(metavar="FOLDER|OWNER/REPO", help_behavior_hint="")] = None,
    clip: Annotated[str | None, arg(metavar="FOLDER|OWNER/REPO", help_behavior_hint="")] = None,
    outside: Annotated[tuple[Path, ...], arg(metavar="SONG...", help_behavior_hint="(default: none)")] = (),
    workers: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: one a processor)")] = None,
) -> None:
    """Compute the tables and pictures of report 004: pictures from music.

    For example:

        timbrel reproduce 004 --out a-look --quick
        timbrel reproduce 004 --out report-004 --data data/paint

    Needs the extras [train], [data] and [metrics], TiMidity++ and sample libraries. The model that ships, and models
    trained as the report's two experiments, paint held-out music of each label. OUT/index.html has AIS, IIS, FID and
    GIILS, rows that the report lacks, and the pictures.

    Args:
        out: The folder for tables, music, pictures and models; a second run goes on where the first stopped.
        quick: A budget of a few minutes, to see that it works.
        budget: How long to train; the cpu budget also runs on a GPU.
        data: A set of `timbrel data paint`, instead of one that is made.
        paintings: A folder as `timbrel data paint` takes, for the set that is made; without it only the labels of
            procedural pictures are used.
        model: The painter that is measured, instead of the one that ships.
        space: Where likeness is measured: the space that ships, or that of CLAP and CLIP, which needs the extra [hub].
        clap: The CLAP of --space clap-clip, instead of laion/clap-htsat-unfused.
        clip: The CLIP of --space clap-clip, instead of openai/clip-vit-base-patch32.
        outside: Recordings that are painted, too.
        workers: Processes that render and paint.
    """
    from timbrel.experiments.report_004.run import reproduce

    with claimed(out):
        reproduce(
            out,
            quick=quick,
            budget=budget,
            data=data,
            paintings=paintings,
            model=model,
            space=space,
            clap=clap,
            clip=clip,
            outside=outside,
            workers=workers,
        )
