"""`timbrel evaluate`: the benchmark, and distances between sets of recordings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

Benchmark = Annotated[Path, Positional, arg(metavar="BENCHMARK")]
Number = Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: all)")]
Rows = Annotated[tuple[str, ...], arg(metavar="ROW...", help_behavior_hint="(default: all)")]


def build(benchmark: Benchmark, *, limit: Number = None, workers: Number = None) -> None:
    """Render the benchmark: 240 triplets of content, style and true answer, by a held-out library.

    For example:

        timbrel evaluate build benchmark

    Needs the extra [data], TiMidity++ and the Freepats library; takes about 550 MB. Files that are there are not
    made again.

    Args:
        benchmark: The folder to make.
        limit: Only the first so many triplets, for a quick look.
        workers: Processors to use.
    """
    from timbrel.experiments.benchmark import cases

    print(f"{benchmark}: {len(cases.build(benchmark, workers=workers, limit=limit))} triplets")


def model(
    benchmark: Benchmark,
    model: Annotated[str | None, Positional, arg(metavar="[MODEL]", help_behavior_hint="(default: default)")] = None,
    *,
    out: Path = Path("evaluation"),
    rows: Rows = (),
    limit: Number = None,
    workers: Number = None,
) -> None:
    """Measure a model beside doing nothing, the truth, and other ways: a table, JSON and a page of pictures.

    For example, after timbrel evaluate build benchmark:

        timbrel evaluate model benchmark
        timbrel evaluate model benchmark runs/mine/model --out mine --limit 12 --rows model-clip

    Needs the extra [metrics].

    Args:
        benchmark: The folder that `timbrel evaluate build` made.
        model: A model that ships or a model folder.
        out: The folder for results.json, clips.json and index.html.
        rows: Only these rows of the table, and the true target.
        limit: Only the first so many triplets, without seams and speed.
        workers: Processors to use.
    """
    from timbrel.experiments.benchmark.evaluate import evaluate

    evaluate(benchmark, out, model=model, rows=rows or None, limit=limit, workers=workers)


def outputs(
    benchmark: Benchmark,
    outputs: Annotated[Path, Positional, arg(metavar="OUTPUTS")],
    *,
    out: Path = Path("evaluation"),
    rows: Rows = (),
    limit: Number = None,
    workers: Number = None,
) -> None:
    """Measure what another program made of the benchmark, beside doing nothing, the truth, and other ways.

    For example:

        timbrel evaluate outputs benchmark their-outputs --out theirs

    Needs the extra [metrics].

    Args:
        benchmark: The folder that `timbrel evaluate build` made.
        outputs: A recording for each triplet: piano-to-harp-00.wav of the content and style of that name, ...
        out: The folder for results.json, clips.json and index.html.
        rows: Only these rows of the table, and the true target.
        limit: Only the first so many triplets.
        workers: Processors to use.
    """
    from timbrel.experiments.benchmark.evaluate import evaluate

    evaluate(benchmark, out, outputs=outputs, rows=rows or None, limit=limit, workers=workers)


def beyond(
    benchmark: Benchmark,
    model: Annotated[str | None, Positional, arg(metavar="[MODEL]", help_behavior_hint="(default: default)")] = None,
    *,
    out: Path = Path("evaluation"),
    per_direction: int = 2,
    tables: Annotated[tuple[str, ...], arg(metavar="TABLE...", help_behavior_hint="(default: all)")] = (),
    variations: Annotated[tuple[str, ...], arg(metavar="NAME...", help_behavior_hint="(default: all)")] = (),
    workers: Number = None,
) -> None:
    """Measure a model on what the benchmark leaves out: unclean recordings, other sources, unheard targets.

    For example, after timbrel evaluate build benchmark:

        timbrel evaluate beyond benchmark
        timbrel evaluate beyond benchmark runs/mine/model --per-direction 5 --tables targets

    Prints a table each of variations (rooms, noise, codecs, rubato, vibrato, poor clips, ...), sources and targets, and
    writes beyond.json. Needs the extras [data] and [metrics], TiMidity++ and the Freepats library.

    Args:
        benchmark: The folder that `timbrel evaluate build` made.
        model: A model that ships or a model folder.
        out: The folder for beyond.json.
        per_direction: How many of the 20 scores of each direction are used; 2 take some 6 minutes.
        tables: Some of variations, sources, targets.
        variations: Some of the rows of the first table, as in clean clip-noise.
        workers: Processors to use.
    """
    from timbrel.experiments.benchmark.beyond import evaluate

    evaluate(
        benchmark,
        out,
        model=model,
        per_direction=per_direction,
        tables=tables,
        variations=variations,
        workers=workers,
    )


def real(
    folder: Annotated[Path, Positional, arg(metavar="FOLDER")],
    model: Annotated[str | None, Positional, arg(metavar="[MODEL]", help_behavior_hint="(default: default)")] = None,
    *,
    out: Path = Path("evaluation-real"),
    clips: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: by name only)")] = None,
    references: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None,
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the model's)")] = None,
    guidance: Annotated[float | None, arg(metavar="G", help_behavior_hint="(default: the model's)")] = None,
    seed: int = 0,
    workers: Number = None,
) -> None:
    """Measure a model on real solo recordings, which have no true answer: is the result heard as what was wanted, are
    the notes, the tuning and the vibrato still there?

    For example:

        timbrel evaluate real recordings
        timbrel evaluate real recordings runs/mine/model --clips clips --out mine

    Each recording goes to piano, guitar, harp and violin, by name and by clip; NAME-1.wav to NAME-9.wav are left out
    where NAME is wanted. Needs the extra [metrics], and musicnn and basic-pitch for all columns.

    Args:
        folder: The recordings, in it or in folders of it; the first 30 s of each.
        model: A model that ships or a model folder.
        out: The folder for results.json and the results to hear; a run that was stopped goes on there.
        clips: A folder with a recording of each wanted instrument: piano.wav, guitar.wav, harp.wav, violin.wav.
        references: A folder with folders piano, guitar, ... of real recordings: FAD and KAD to them.
        steps: Steps of sampling.
        guidance: Weight of the style.
        seed: Another seed, another result.
        workers: Processors to use.
    """
    from timbrel.experiments.real import evaluate

    evaluate(
        folder,
        out,
        model=model,
        clips=clips,
        references=references,
        steps=steps,
        guidance=guidance,
        seed=seed,
        workers=workers,
    )


def listen(
    out: Annotated[Path, Positional, arg(metavar="OUT")],
    *,
    benchmark: Path = Path("benchmark"),
    model: Annotated[str | None, arg(metavar="MODEL", help_behavior_hint="(default: default)")] = None,
    outputs: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None,
    rows: Annotated[
        tuple[str, ...], arg(metavar="ROW...", help_behavior_hint="(default: the model's, transcribed)")
    ] = (),
    per_direction: Annotated[int, arg(metavar="N")] = 1,
    seed: int = 0,
    workers: Number = None,
) -> None:
    """Make a listening test (MUSHRA): a page that works without a server, with the benchmark's triplets by system, a
    hidden reference and a low-passed anchor.

    For example, after timbrel evaluate build benchmark:

        timbrel evaluate listen listening
        timbrel evaluate listen listening --outputs theirs --rows model-clip outputs --per-direction 2

    Send the folder OUT/page to listeners: they open index.html, and send back the file that it saves. OUT/key.json
    stays with you.

    Args:
        out: The new folder.
        benchmark: The folder that `timbrel evaluate build` made.
        model: A model that ships or a model folder.
        outputs: What another program made of the benchmark, as for `timbrel evaluate outputs`.
        rows: What is compared: rows of the benchmark's table, seven at most.
        per_direction: Triplets of each of the 12 directions; a triplet takes about a minute.
        seed: Another seed, another order.
        workers: Processors to use.
    """
    from timbrel.experiments.listening.build import build

    key = build(
        benchmark,
        out,
        model=model,
        outputs=outputs,
        rows=rows,
        per_direction=per_direction,
        seed=seed,
        workers=workers,
    )
    print(f"{out}/page/index.html: {len(key['trials'])} trials of {', '.join(key['systems'].values())}")


def listened(
    answers: Annotated[tuple[Path, ...], Positional, arg(metavar="ANSWERS...", help_behavior_hint="(required)")],
    *,
    test: Path = Path("listening"),
    out: Annotated[Path | None, arg(metavar="FILE.json", help_behavior_hint="")] = None,
) -> None:
    """Turn the answers of a listening test into means with intervals.

    For example:

        timbrel evaluate listened answers-*.json --test listening

    A listener who rates the hidden reference under 90 in more than 15 % of the trials does not count (ITU-R BS.1534-3).

    Args:
        answers: The files that listeners saved.
        test: The folder that `timbrel evaluate listen` made.
        out: Also write the figures here.
    """
    import json

    from timbrel.audio.io import check_output
    from timbrel.experiments.listening.answers import evaluate, remarks, results_table
    from timbrel.files import write_text

    if out is not None:
        check_output(out, suffixes=[".json"], overwrite=True)
    results = evaluate(answers, test)
    print("\n".join([results_table(results).text(), "", *remarks(results)]))
    if out is not None:
        write_text(out, json.dumps(results, indent=1) + "\n")


def generate(
    data: Annotated[Path, Positional, arg(metavar="DATA")],
    model: Annotated[str | None, Positional, arg(metavar="[MODEL]", help_behavior_hint="(default: generate)")] = None,
    *,
    out: Path = Path("evaluation-generate"),
    takes: Annotated[int, arg(aliases=["-n"], metavar="N")] = 3,
    steps: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: the model's)")] = None,
    guidance: Annotated[float | None, arg(metavar="X", help_behavior_hint="(default: the model's)")] = None,
    candidates: Annotated[int | None, arg(metavar="N", help_behavior_hint="(default: timbrel generate's)")] = None,
    listener: Annotated[str | None, arg(metavar="NAME|FOLDER", help_behavior_hint="(default: listener)")] = None,
    encoder: Annotated[Literal["vggish", "clap"] | None, arg(help_behavior_hint="(default: none)")] = None,
    weights: Annotated[str | None, arg(metavar="FILE|FOLDER|ID", help_behavior_hint="")] = None,
    ontology: Annotated[Path | None, arg(metavar="FILE.json", help_behavior_hint="(default: the shipped one)")] = None,
    on_mels: bool = False,
    seed: int = 0,
    workers: Number = None,
) -> None:
    """Measure a model that makes sound from a text: is each class heard as what it is, how far is the whole from real
    sounds, do takes differ, and is any a copy?

    For example, after timbrel data sounds data/sounds:

        timbrel evaluate generate data/sounds
        timbrel evaluate generate data/sounds runs/generate/model --out mine -n 2

    Three takes of each of 138 classes, with all rows beside them, take about 15 minutes of two cores, on mels 4. Needs
    the extra [metrics], and musicnn for its columns.

    Args:
        data: The labelled sounds: a mel store of `timbrel data sounds`.
        model: A model that ships or a model folder.
        out: The folder for results.json, classes.csv and the takes; a run that was stopped goes on there.
        takes: Of each class, and real sounds beside them.
        steps: Steps of sampling.
        guidance: Weight of the text.
        candidates: Of each take at most; the first that fits the text, as the listener hears it, is the take.
        listener: What chooses among candidates, of `timbrel train listener`.
        encoder: One more that listens for the distances, beside musicnn and timbrel's own.
        weights: Its weights; see `timbrel evaluate distance`.
        ontology: One that has the data's classes, in AudioSet's format.
        on_mels: Judge mels that are not inverted, by the classifier alone: faster, and nothing to hear.
        seed: Other takes, and other real sounds.
        workers: Processors to use.
    """
    from timbrel.experiments.generate.evaluate import evaluate

    evaluate(
        data,
        out,
        model=model,
        takes=takes,
        steps=steps,
        guidance=guidance,
        candidates=candidates,
        listener=listener,
        encoder=encoder,
        weights=weights,
        ontology=ontology,
        on_mels=on_mels,
        seed=seed,
        workers=workers,
    )


def distance(
    reference: Annotated[Path, Positional, arg(metavar="REFERENCE")],
    other: Annotated[Path, Positional, arg(metavar="OTHER")],
    *,
    encoder: Literal["timbrel-features", "vggish", "clap", "musicnn"] = "timbrel-features",
    weights: Annotated[str | None, arg(metavar="FILE|FOLDER|ID", help_behavior_hint="")] = None,
    out: Annotated[Path | None, arg(metavar="FILE.json", help_behavior_hint="")] = None,
    cache: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")] = None,
    seed: int = 0,
) -> None:
    """Say how far two folders of recordings are apart: FAD without its bias, and KAD, with standard errors.

    For example:

        timbrel evaluate distance recordings/violin results
        timbrel evaluate distance recordings/violin results --encoder vggish --weights vggish.pth --out fad.json

    Each folder needs at least 10 recordings, better hundreds. Figures compare with those of the same encoder alone.
    CLAP needs the extra [hub].

    Args:
        reference: The folder of real recordings.
        other: The folder to compare.
        encoder: What listens.
        weights: Of timbrel-features a folder that `timbrel train features` made (default: the network that ships); of
            vggish a state dict (.pth, .safetensors or hf:OWNER/REPO/FILE); of clap a hub id or a folder (default:
            laion/clap-htsat-unfused); musicnn has its own.
        out: Also write the figures here.
        cache: A folder for embeddings, so that one encoder hears no recording twice.
        seed: Another seed cuts the sets into other parts.
    """
    from timbrel.audio.io import check_output
    from timbrel.metrics import fad, kad, sets
    from timbrel.metrics.encoders import load_encoder

    if out is not None:
        check_output(out, suffixes=[".json"], overwrite=True)
    ear = load_encoder(encoder, weights)
    for folder in (reference, other):  # before the long work
        sets.find_recordings(folder)
    embedded = [sets.embed_folder(folder, ear, cache=cache) for folder in (reference, other)]
    for folder, recordings in zip((reference, other), embedded, strict=True):
        for name, reason in recordings.failures:
            print(f"skipped {folder / name}: {reason}", file=sys.stderr)
        print(f"{folder}: {len(recordings.recordings)} recordings, {len(recordings.rows())} embeddings")
    distances = fad.evaluate(*embedded, seed=seed) | kad.evaluate(*embedded, seed=seed)
    for name, value in distances.items():
        print(f"{name}  {value}")
        if value.warning:
            print(f"warning: {value.warning}", file=sys.stderr)
    if out is not None:
        sets.write_distances(out, distances)
