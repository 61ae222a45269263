"""The results of report 001, to read and to hear: tables as CSV, and a page of tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from timbrel.experiments import page
from timbrel.experiments.benchmark.measures import COLUMNS
from timbrel.experiments.page import Block, Column, Figure, Heading, Table, Text
from timbrel.experiments.report_001 import budget as budgets
from timbrel.experiments.report_001.budget import STEPS, Budget
from timbrel.experiments.report_001.clips import MEL
from timbrel.experiments.run import Result
from timbrel.files import write_text

JUDGED = COLUMNS[:4]
RMS = Column("rms_db", "mel RMS dB", 1, "lower")
CONTENT_RMS = Column("content_rms_db", "from the content, mel RMS dB", 1)
DENOISED = (
    RMS,
    Column("denoised_rms_db", "denoised, right style, dB", 2, "lower"),
    Column("denoised_wrong_style_rms_db", "wrong style, dB", 2),
)
VARIED = (
    Column("millions", "parameters, M", 1),
    Column("diffusion", "diffusion loss", 3),
    Column("diffusion_wrong_style", "with another style", 3),
    Column("mse", "codec's squared error", 3),
    Column("style", "style loss", 3),
)
TABLE_2 = {
    "encoder": ("SpectrogramEncoder", 111_840, ""),
    "decoder": ("SpectrogramDecoder", 198_209, "4 x 4 kernels; the listing's 3 x 3 would give 111,745"),
    "style": ("StyleEncoder", 2_729_984, ""),
    "attention": ("CrossAttention", 1_313_792, "two, inside the U-Net"),
    "unet": ("UNet", 8_155_296, "the report's count has the attentions twice"),
    "all": ("LDM (full)", 12_609_985, "the report's total is no sum of its rows"),
}
"""Key in the part "parameters" -> the report's row, its number, and why ours is another."""


def write(out: Path, budget: Budget, parts: Mapping[str, Result]) -> None:
    """tables/*.csv and index.html, of parts that are all done."""
    tables = {
        "findings": Table(["section", "the report", "here", "what is otherwise"], _findings(parts)),
        "table-2": _table_2(parts["parameters"]),
        "codecs": _codecs(parts),
        "steps": _by_steps(parts),
        "bands": _table("bands", parts["bands"]["bands"], Column("seconds_a_clip", "s a clip", 2)),
        "variants": _variants([part for name, part in parts.items() if name.startswith("variant-")]),
    }
    (out / "tables").mkdir(exist_ok=True)
    for name, table in tables.items():
        write_text(out / "tables" / f"{name}.csv", table.csv())
    write_text(out / "index.html", page.html("Report 001", _blocks(budget, parts, tables)))


def _blocks(budget: Budget, parts: Mapping[str, Result], tables: Mapping[str, Table]) -> list[Block]:
    def figure(number: int) -> Figure:
        name = f"figure-{number}"
        return Figure(name, f"figures/{name}.png", parts["figures"]["sounds"].get(name, {}))

    return [
        Text([_budget(budget, parts)]),
        Heading("The report, and what came out here"),
        tables["findings"],
        Heading("Parameters (table 2)"),
        tables["table-2"],
        Heading("Reconstruction (section 4.3, figure 1)"),
        figure(1),
        tables["codecs"],
        Heading("Training (section 4.4, figure 2)"),
        figure(2),
        Heading("One prediction (section 4.7, figures 3 and 4)"),
        figure(3),
        figure(4),
        Heading("Generation by DDIM (section 4.8, figure 5)"),
        figure(5),
        Heading("Transfer by DDIM (section 4.9, figure 6)"),
        figure(6),
        Heading("Against the number of DDIM steps"),
        tables["steps"],
        Heading("Mel bands (section 4.2)"),
        tables["bands"],
        Heading("The outlook (section 5.2), one change at a time"),
        Text([_variants_remark(budget)]),
        tables["variants"],
    ]


# --- what is said


def _budget(budget: Budget, parts: Mapping[str, Result]) -> str:
    minutes = ", ".join(f"{label} {m:.0f}" for label, m in sorted(parts["data"]["minutes_of_music"]["train"].items()))
    trained = ", ".join(
        f"{name} {parts[name]['steps']} steps of {parts[name]['batch_size']} "
        f"({parts[name]['training_minutes']:.1f} min)"
        for name in ("features", "codec", "codec-8x8", "transfer")
    )
    return (
        f"Budget {budget.name!r}. Minutes of training music: {minutes}. Training: {trained}; each variant "
        f"{budget.variant_steps} steps. The report: 100 and 200 epochs, 750 steps of 16 each. All measures are of "
        f"{budget.clips} clips of 3 s of scores that no training heard; ± half the bootstrap 95 % interval. The "
        "feature network of the perceptual and style terms is timbrel-features, trained on the same data: "
        f"{parts['features']['validation']['accuracy']:.2f} right on held-out recordings."
    )


def _variants_remark(budget: Budget) -> str:
    return (
        f"Each is trained from nothing for {budget.variant_steps} steps and judged on the same clips. What differs "
        "by no more than the recipe with another seed differs is chance. Diffusion losses compare within one schedule, "
        "prediction and size of latents alone, the style loss among those of one kind (not that of feature maps). The "
        "judge of instruments errs too often on so few clips to decide anything. Denoised: the answer, noised to "
        "-8 dB, back by one prediction with a style clip of its instrument, and with one of another."
    )


def _findings(parts: Mapping[str, Result]) -> list[list[str]]:
    codec, small, transfer, steps = (parts[name] for name in ("codec", "codec-8x8", "transfer", "steps"))
    style = parts["figures"]["validation"]
    term = next(key for key in style[0] if key.startswith("validation/style["))
    first, last = style[0], style[-1]
    one, most = (steps["transfer"][str(k)] for k in (budgets.DDIM_STEPS[0], budgets.DDIM_STEPS[-1]))
    from_noise = [steps["generation"][str(k)] for k in (budgets.DDIM_STEPS[0], budgets.DDIM_STEPS[-1])]
    references = parts["bands"]["known"]
    return [
        [
            "4.3",
            "reconstructs with high accuracy",
            f"{_cell(codec, 'rms_db')} dB of mel, LSD {_cell(codec, 'lsd_db')}, detail {_cell(codec, 'detail')}",
            "the decoder's range is the data's; level is kept; split by score",
        ],
        [
            "4.3",
            "latents [32, 8, 8] say too little",
            f"{_cell(small, 'rms_db')} dB instead of {_cell(codec, 'rms_db')}",
            "a fourth layer down and up, of 256 channels; the report names none",
        ],
        [
            "4.4",
            "the style loss does not improve",
            f"{first[term]:.3f} after {first['step']} steps, {last[term]:.3f} after {last['step']}",
            "there it was computed under no_grad and trained nothing; here it reaches all parts",
        ],
        [
            "4.4",
            "the compression loss does not improve in stage 2",
            f"{codec['validation']['mse']:.4f} after stage 1, {last['validation/mse']:.4f} after stage 2",
            "the decoder also serves the style loss",
        ],
        [
            "4.7",
            "one pass: noise-like, at most a slight rhythm",
            f"LSD {_cell(one, 'lsd_db')}; the content unchanged {_cell(references['content'], 'lsd_db')}",
            "style from a clip of the instrument that is denoised; attention adds to the features",
        ],
        [
            "4.8",
            "generation: hardly any content; more steps change nothing",
            f"detail {_cell(from_noise[0], 'detail')} with 1 step, {_cell(from_noise[1], 'detail')} with "
            f"{budgets.DDIM_STEPS[-1]}",
            "the last of the 200 timesteps is noise, where sampling starts; the report's is -8 dB",
        ],
        [
            "4.9",
            "transfer: resembles the content; more steps may change nothing",
            f"from the content {_cell(one, 'content_rms_db')} dB with 1 step, {_cell(most, 'content_rms_db')} with "
            f"{budgets.DDIM_STEPS[-1]}; LSD to the answer {_cell(one, 'lsd_db')}, {_cell(most, 'lsd_db')}",
            "the same start, -8 dB",
        ],
        [
            "5.1",
            "style transfer could not be judged",
            f"with {STEPS} steps: LSD {_cell(transfer, 'lsd_db')}; a style clip of another instrument "
            f"{_costs(transfer)}",
            "the answer is known: the score on the other instrument",
        ],
    ]


def _costs(measured: Result) -> str:
    gap = measured["denoised_wrong_style_rms_db"]["mean"] - measured["denoised_rms_db"]["mean"]
    return f"costs {gap:.2f} dB" if gap >= 0.05 else "makes no difference"


# --- tables


def _cell(measured: Result, name: str) -> str:
    [column] = [column for column in (*JUDGED, CONTENT_RMS, *DENOISED) if column.name == name]
    return column.plus_minus(measured)


def _table(first: str, rows: Mapping[str, Result], *columns: Column) -> Table:
    return page.table(first, rows, (*JUDGED, *columns), Column.plus_minus)


def _table_2(counted: Result) -> Table:
    rows = [[name, f"{theirs:,}", f"{counted[key]:,}", why] for key, (name, theirs, why) in TABLE_2.items()]
    return Table(["", "the report", "here", ""], rows)


def _codecs(parts: Mapping[str, Result]) -> Table:
    rows = {"no codec: to a mel and back": parts["bands"]["bands"][str(MEL.n_mels)]}
    rows |= {f"latents {codec['latents']}": codec for codec in (parts["codec"], parts["codec-8x8"])}
    return _table("", rows, RMS)


def _by_steps(parts: Mapping[str, Result]) -> Table:
    known = parts["bands"]["known"]
    titles = {"content": "the content, unchanged", "style": "the style clip", "answer": "the true answer"}
    rows = {title: known[kind] for kind, title in titles.items()} | {
        "the true answer through the codec": parts["codec"]
    }
    rows |= {
        f"{way}, {steps} step{'s' if steps > 1 else ''}": parts["steps"][way][str(steps)]
        for way in ("generation", "transfer")
        for steps in budgets.DDIM_STEPS
    }
    return _table("", rows, CONTENT_RMS)


def _variants(variants: Sequence[Result]) -> Table:
    rows = {
        variant["title"]: variant
        | {"millions": variant["parameters"] / 1e6}
        | {name.partition("[")[0]: loss for name, loss in variant["validation"].items()}
        for variant in variants
    }
    return page.table("", rows, (*VARIED, *JUDGED, *DENOISED), Column.plus_minus)
