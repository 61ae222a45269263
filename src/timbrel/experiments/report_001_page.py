"""What `report_001` found, to read and to hear: its tables as CSV, its figures with their sound, and a page of both."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import torch
from torch import Tensor

from timbrel.audio.io import write_audio
from timbrel.data.store import write_bytes, write_text
from timbrel.experiments import page, report_001
from timbrel.experiments.report_001 import STEPS, Result, Run
from timbrel.experiments.report_001_clips import MEL, generated, mels, noise, sound, transferred

MEASURES = {
    "lsd_db": ("LSD dB", 1),
    "mfcc_distance": ("MFCC dist.", 0),
    "detail": ("detail", 2),
    "instrument_accuracy": ("instrument", 2),
    "rms_db": ("mel RMS dB", 1),
    "content_rms_db": ("from the content, mel RMS dB", 1),
    "denoised_rms_db": ("denoised, right style, dB", 2),
    "denoised_wrong_style_rms_db": ("wrong style, dB", 2),
}
"""Key in a part's figures -> heading and decimals."""
JUDGED = ("lsd_db", "mfcc_distance", "detail", "instrument_accuracy")
TABLE_2 = {
    "encoder": ("SpectrogramEncoder", 111_840, ""),
    "decoder": ("SpectrogramDecoder", 198_209, "4 x 4 kernels; the listing's 3 x 3 would give 111,745"),
    "style": ("StyleEncoder", 2_729_984, ""),
    "attention": ("CrossAttention", 1_313_792, "two, inside the U-Net"),
    "unet": ("UNet", 8_155_296, "the report's count has the attentions twice"),
    "all": ("LDM (full)", 12_609_985, "the report's total is no sum of its rows"),
}
"""Key in the part "parameters" -> the report's row, its number, and why ours is another."""

Row = tuple[str, list[str]]


def write(run: Run) -> None:
    """Tables, figures, audio and index.html, of parts that are all done."""
    for folder in ("tables", "figures", "audio"):
        (run.out / folder).mkdir(exist_ok=True)
    body = "\n".join(
        [
            _paragraph(_budget(run)),
            _heading("The report, and what came out here"),
            _table(run, "findings", "section", ["the report", "here", "what is otherwise"], _findings(run)),
            _heading("Parameters (table 2)"),
            _table(run, "table-2", "", ["the report", "here", ""], _table_2(run)),
            _heading("Reconstruction (section 4.3, figure 1)"),
            _figure_1(run),
            _table(run, "codecs", "", _headings(JUDGED, "rms_db"), _codecs(run)),
            _heading("Training (section 4.4, figure 2)"),
            _figure_2(run),
            _heading("One prediction (section 4.7, figures 3 and 4)"),
            *_figures_3_to_6(run),
            _heading("Against the number of DDIM steps"),
            _table(run, "steps", "", _headings(JUDGED, "content_rms_db"), _by_steps(run)),
            _heading("Mel bands (section 4.2)"),
            _table(run, "bands", "bands", [*_headings(JUDGED), "s a clip"], _bands(run)),
            _heading("The outlook (section 5.2), one change at a time"),
            _paragraph(_variants_remark(run)),
            _table(run, "variants", "", _variant_headings(), _variants(run)),
        ]
    )
    write_text(run.out / "index.html", page.document("Report 001", body))


# --- what is said


def _budget(run: Run) -> str:
    budget, data = run.budget, run.part("data")
    minutes = ", ".join(f"{label} {m:.0f}" for label, m in sorted(data["minutes_of_music"]["train"].items()))
    trained = ", ".join(
        f"{name} {run.part(name)['steps']} steps of {run.part(name)['batch_size']} "
        f"({run.part(name)['training_minutes']:.1f} min)"
        for name in ("features", "codec", "codec-8x8", "transfer")
    )
    return (
        f"Budget {budget.name!r}. Minutes of training music: {minutes}. Training: {trained}; each variant "
        f"{budget.variant_steps} steps. The report: 100 and 200 epochs, 750 steps of 16 each. All measures are of "
        f"{budget.clips} clips of 3 s of scores that no training heard; ± half the bootstrap 95 % interval. The "
        "feature network of the perceptual and style terms is timbrel-features, trained on the same data: "
        f"{run.part('features')['validation']['accuracy']:.2f} right on held-out recordings."
    )


def _variants_remark(run: Run) -> str:
    return (
        f"Each is trained from nothing for {run.budget.variant_steps} steps and judged on the same clips. What differs "
        "by no more than the recipe with another seed differs is chance. Diffusion losses compare within one schedule, "
        "prediction and size of latents alone, the style loss among those of one kind (not that of feature maps). The "
        "judge of instruments errs too often on so few clips to decide anything. Denoised: the answer, noised to "
        "-8 dB, back by one prediction with a style clip of its instrument, and with one of another."
    )


def _findings(run: Run) -> list[Row]:
    codec, small, transfer, steps = (run.part(name) for name in ("codec", "codec-8x8", "transfer", "steps"))
    style = [line for line in run.curves("transfer") if "validation/loss" in line]
    term = next(key for key in style[0] if key.startswith("validation/style["))
    first, last = style[0], style[-1]
    one, most = (steps["transfer"][str(k)] for k in (report_001.DDIM_STEPS[0], report_001.DDIM_STEPS[-1]))
    from_noise = [steps["generation"][str(k)] for k in (report_001.DDIM_STEPS[0], report_001.DDIM_STEPS[-1])]
    known = run.part("bands")["known"]
    return [
        (
            "4.3",
            [
                "reconstructs with high accuracy",
                f"{_cell(codec, 'rms_db')} dB of mel, LSD {_cell(codec, 'lsd_db')}, detail {_cell(codec, 'detail')}",
                "the decoder's range is the data's; level is kept; split by score",
            ],
        ),
        (
            "4.3",
            [
                "latents [32, 8, 8] say too little",
                f"{_cell(small, 'rms_db')} dB instead of {_cell(codec, 'rms_db')}",
                "a fourth layer down and up, of 256 channels; the report names none",
            ],
        ),
        (
            "4.4",
            [
                "the style loss does not improve",
                f"{first[term]:.3f} after {first['step']} steps, {last[term]:.3f} after {last['step']}",
                "there it was computed under no_grad and trained nothing; here it reaches all parts",
            ],
        ),
        (
            "4.4",
            [
                "the compression loss does not improve in stage 2",
                f"{codec['validation']['mse']:.4f} after stage 1, {last['validation/mse']:.4f} after stage 2",
                "the decoder also serves the style loss",
            ],
        ),
        (
            "4.7",
            [
                "one pass: noise-like, at most a slight rhythm",
                f"LSD {_cell(one, 'lsd_db')}; the content unchanged {_cell(known['content'], 'lsd_db')}",
                "style from a clip of the instrument that is denoised; attention adds to the features",
            ],
        ),
        (
            "4.8",
            [
                "generation: hardly any content; more steps change nothing",
                f"detail {_cell(from_noise[0], 'detail')} with 1 step, {_cell(from_noise[1], 'detail')} with "
                f"{report_001.DDIM_STEPS[-1]}",
                "the last of the 200 timesteps is noise, where sampling starts; the report's is -8 dB",
            ],
        ),
        (
            "4.9",
            [
                "transfer: resembles the content; more steps may change nothing",
                f"from the content {_cell(one, 'content_rms_db')} dB with 1 step, {_cell(most, 'content_rms_db')} with "
                f"{report_001.DDIM_STEPS[-1]}; LSD to the answer {_cell(one, 'lsd_db')}, {_cell(most, 'lsd_db')}",
                "the same start, -8 dB",
            ],
        ),
        (
            "5.1",
            [
                "style transfer could not be judged",
                f"with {STEPS} steps: LSD {_cell(transfer, 'lsd_db')}; a style clip of another instrument "
                f"{_costs(transfer)}",
                "the answer is known: the score on the other instrument",
            ],
        ),
    ]


def _costs(found: Result) -> str:
    gap = found["denoised_wrong_style_rms_db"]["mean"] - found["denoised_rms_db"]["mean"]
    return f"costs {gap:.2f} dB" if gap >= 0.05 else "makes no difference"


# --- tables


def _cell(found: Result, key: str) -> str:
    value, decimals = found[key], MEASURES[key][1]
    return f"{value['mean']:.{decimals}f} ± {(value['high'] - value['low']) / 2:.{decimals}f}"


def _headings(*keys: str | Sequence[str]) -> list[str]:
    flat = [name for key in keys for name in ([key] if isinstance(key, str) else key)]
    return [MEASURES[key][0] for key in flat]


def _cells(found: Result, *more: str) -> list[str]:
    return [_cell(found, key) for key in (*JUDGED, *more)]


def _table_2(run: Run) -> list[Row]:
    found = run.part("parameters")
    return [(name, [f"{theirs:,}", f"{found[key]:,}", why]) for key, (name, theirs, why) in TABLE_2.items()]


def _codecs(run: Run) -> list[Row]:
    parts = {name: run.part(name) for name in ("codec", "codec-8x8")}
    rows = [(f"latents {found['latents']}", _cells(found, "rms_db")) for found in parts.values()]
    return [("no codec: to a mel and back", [*_cells(run.part("bands")["bands"][str(MEL.n_mels)]), ""]), *rows]


def _by_steps(run: Run) -> list[Row]:
    found, known = run.part("steps"), run.part("bands")["known"]
    titles = {"content": "the content, unchanged", "style": "the style clip", "answer": "the true answer"}
    rows = [(title, [*_cells(known[kind]), ""]) for kind, title in titles.items()]
    rows += [("the true answer through the codec", [*_cells(run.part("codec")), ""])]
    return rows + [
        (f"{way}, {steps} step{'s' if steps > 1 else ''}", _cells(found[way][str(steps)], "content_rms_db"))
        for way in ("generation", "transfer")
        for steps in report_001.DDIM_STEPS
    ]


def _bands(run: Run) -> list[Row]:
    found = run.part("bands")["bands"]
    return [(bands, [*_cells(row), f"{row['seconds_a_clip']:.2f}"]) for bands, row in found.items()]


_DENOISED = ("rms_db", "denoised_rms_db", "denoised_wrong_style_rms_db")
_LOSSES = ("diffusion", "diffusion_wrong_style", "mse")


def _variant_headings() -> list[str]:
    losses = ["diffusion loss", "with another style", "codec's squared error", "style loss"]
    return ["parameters", *losses, *_headings(JUDGED, _DENOISED)]


def _variants(run: Run) -> list[Row]:
    rows = []
    for name in run.variants:
        found = run.part(f"variant-{name}")
        losses = found["validation"]
        style = [f"{value:.3f}" for key, value in losses.items() if key.startswith("style[")]
        cells = [f"{found['parameters'] / 1e6:.1f} M"]
        cells += [*(f"{losses[key]:.3f}" for key in _LOSSES), *(style or [""])]
        rows.append((found["title"], [*cells, *_cells(found, *_DENOISED)]))
    return rows


def _table(run: Run, name: str, corner: str, headings: Sequence[str], rows: Sequence[Row]) -> str:
    """Also as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([corner, *headings])
    writer.writerows([title, *cells] for title, cells in rows)
    write_text(run.out / "tables" / f"{name}.csv", file.getvalue())
    return page.html_table(headings, rows)


# --- figures


def _figure_1(run: Run) -> str:
    answers = mels(run.clips, "answer")[: report_001.SHOWN]
    made = report_001.rebuilt(run, "codec", answers)[1]
    small = report_001.rebuilt(run, "codec-8x8", answers)[1]
    names = [f"{clip.target} {k + 1}" for k, clip in enumerate(run.clips[: report_001.SHOWN])]
    rows = {"input": answers, "reconstruction": made, "from [32, 8, 8]": small}
    grid = [[(f"{name}: {row}", mel) for name, mel in zip(names, mels, strict=True)] for row, mels in rows.items()]
    originals = {title: clip.answer for (title, _), clip in zip(grid[0], run.clips, strict=False)}
    return _figure(run, "figure-1", grid, originals)


def _figures_3_to_6(run: Run) -> list[str]:
    """Of the first clip."""
    model, clip = report_001.load(run, "transfer"), run.clips[0]
    content, style, answer = (mels(run.clips, kind)[:1] for kind in ("content", "style", "answer"))
    with torch.inference_mode():
        latents, chance = model.codec.encode(content), noise(model, 1)
        last = round(model.full_start * model.schedule.num_train_timesteps) - 1
        noised = model.decode(model.schedule.add_noise(latents, chance, last))
        noisiest = model.decode(chance)
    moved = {steps: transferred(model, content, style, steps) for steps in report_001.DDIM_STEPS}
    made = {steps: generated(model, style, steps) for steps in report_001.DDIM_STEPS}
    given = [(f"content, {clip.source}", content), (f"style, {clip.target}", style)]
    noisy, random = (f"content at -8 dB (t = {last})", noised), ("noise", noisiest)
    known = {given[0][0]: clip.content, given[1][0]: clip.style, "answer": clip.answer}

    def by_steps(mels: dict[int, Tensor]) -> list[tuple[str, Tensor]]:
        return [(f"{steps} step{'s' if steps > 1 else ''}", mel) for steps, mel in mels.items()]

    figures = {
        "figure-3": [[*given, ("one prediction", moved[1]), noisy]],
        "figure-4": [[random, given[1], ("one prediction", made[1])]],
        "figure-5": [given[1:], by_steps(made)],
        "figure-6": [[*given, noisy, ("answer", answer)], by_steps(moved)],
    }
    drawn = [_figure(run, name, [[(t, m[0]) for t, m in row] for row in rows], known) for name, rows in figures.items()]
    return [
        *drawn[:2],
        _heading("Generation by DDIM (section 4.8, figure 5)"),
        drawn[2],
        _heading("Transfer by DDIM (section 4.9, figure 6)"),
        drawn[3],
    ]


def _figure(run: Run, name: str, rows: list[list[tuple[str, Tensor]]], recordings: dict[str, Any]) -> str:
    """Titled mels [1, 128, 128] in dB in rows, and their sound; of those in `recordings` the recording's."""
    from matplotlib.figure import Figure

    columns = max(map(len, rows))
    drawing = Figure(figsize=(1.9 * columns, 2.1 * len(rows)), dpi=90, layout="constrained")
    axes = drawing.subplots(len(rows), columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    players = []
    for i, row in enumerate(rows):
        for axis, (title, mel) in zip(axes[i], row, strict=False):
            axis.imshow(mel[0].numpy(), origin="lower", aspect="auto", cmap="magma", vmin=MEL.floor_db, vmax=0)
            axis.set_title(title, fontsize=8)
            file = f"{name}-{title}.flac".replace(" ", "-").translate(str.maketrans("", "", ":,[]()="))
            recording = recordings.get(title)
            waveform = sound(mel) if recording is None else recording
            write_audio(run.out / "audio" / file, waveform[None], MEL.sample_rate, overwrite=True)
            players.append(f'{escape(title)} <audio controls preload="none" src="audio/{file}"></audio>')
    return f"{_save(run, name, drawing)}<p>{' '.join(players)}</p>"


def _figure_2(run: Run) -> str:
    """Losses of both stages: of training as lines, of validation as dots."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(10, 4.5), dpi=90, layout="constrained")
    axes = drawing.subplots(2, 4)
    for row, (part, terms) in zip(
        axes,
        {"codec": ("loss", "mse", "perceptual", "kl"), "transfer": ("diffusion", "mse", "perceptual", "style")}.items(),
        strict=True,
    ):
        curves = run.curves(part)
        for axis, term in zip(row, terms, strict=True):
            for prefix, mark in (("", "-"), ("validation/", "o")):
                points = [
                    (line["step"], value)
                    for line in curves
                    for key, value in line.items()
                    if key.split("[")[0] == prefix + term
                ]
                axis.plot(*zip(*points, strict=True), mark, markersize=3)
            axis.set_title(f"{part}: {term}", fontsize=9)
            axis.set_ylim(bottom=0)
            axis.tick_params(labelsize=7)
    return _save(run, "figure-2", drawing)


def _save(run: Run, name: str, drawing: Any) -> str:
    write_bytes(run.out / "figures" / f"{name}.png", page.png(drawing))
    return f'<p><img alt="{name}" src="figures/{name}.png"></p>'


def _heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"
