"""The page: a tab for each task, its form on the left, its results on the right."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from timbrel import AccompanySettings, DuetSettings, GenerateSettings, Method, PaintSettings, TransferSettings
from timbrel.metrics import notes
from timbrel.web import player
from timbrel.web.jobs import Job, Jobs, Status, Stopped
from timbrel.web.sounds import Take
from timbrel.web.tasks import MOST_TAKES, PIANO, Studio

INSTRUMENT, RECORDING = "An instrument", "A recording"
TRANSPOSE: list[Any] = [("Automatic, by octaves", "auto"), ("As it is", 0)] + [
    (f"{n:+d} semitone{'s' if abs(n) > 1 else ''}", n) for n in range(24, -25, -1) if n
]
EXAMPLES = {  # instrument, strength, mix
    "Piano → violin": ("violin", 1.0, 1.0),
    "Piano → harp, both together": ("harp", 1.0, 0.5),
    "Piano → organ, half the way": ("organ", 0.5, 1.0),
}
NO_MIDI = "For the notes as MIDI too: pip install onnxruntime && pip install --no-deps basic-pitch"
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
WAVE = gr.WaveformOptions(waveform_color="#b8ada1", waveform_progress_color="#c4532b")
Update = dict[Any, Any]


def owner(request: gr.Request) -> str:
    """What the owner of each of a visitor's jobs begins with, and of no call by HTTP: a client chooses its hash."""
    return f"page {request.session_hash} "


class Panel:
    """The right side of a tab: progress, the result, and earlier takes to go back to.

    Args:
        studio: does the work.
        jobs: the queue that it waits in.
        name: of the tab.
        empty: what stands there before there is a result.
    """

    def __init__(self, studio: Studio, jobs: Jobs, name: str, empty: str) -> None:
        self.studio, self.jobs, self.name, self.empty = studio, jobs, name, player.empty(empty)
        with gr.Column(scale=7, min_width=320, elem_classes="tb-results"):
            with gr.Row(elem_classes="tb-running"):
                self.status = gr.HTML(elem_classes="tb-status")
                self.stop = gr.Button("Stop", visible=False, size="sm", min_width=80, scale=0)
            self.result = gr.HTML(self.empty, elem_classes="tb-result")
            self.history = gr.Radio([], label="Takes", visible=False, elem_classes="tb-takes")
            self.zip = gr.Button("All of it as one zip", visible=False, size="sm", elem_classes="tb-zip")
            self.packed = gr.HTML()
        self.takes = gr.State([])
        self._parts = [self.status, self.stop, self.result, self.takes, self.history, self.zip, self.packed]
        self.stop.click(self._stop, queue=False, **QUIET)
        self.history.input(self._back, [self.takes, self.history], self.result, queue=False, **QUIET)
        self.on(self.zip, [self.takes, self.history], self._pack, show=self._packed)

    def on(
        self,
        go: gr.Button,
        inputs: Sequence[Any],
        work: Callable[..., Any],
        *,
        missing: Callable[..., str] = lambda *_: "",
        show: Callable[..., Update] | None = None,
        others: Sequence[Any] = (),
        when: Callable[..., Any] | None = None,
    ) -> None:
        """A button that does work.

        Args:
            go: the button; "Stop" stands in its place meanwhile.
            inputs: components, whose values `work` gets after its job.
            work: makes what `show` gets; without `show`, takes and the earlier takes.
            missing: a hint, where the form is half-filled, made of the same values.
            others: components beside the panel's that `show` changes.
            when: the event that begins the work, if the first value is one, and ends what is shown; None is a click of
                the button.
        """
        taken = [] if show else [self.takes]

        def handler(request: gr.Request, *values: Any) -> Iterator[Update]:
            given = values[: len(inputs)]
            cleared = {self.result: self.empty} if when else {}
            if when and not given[0]:
                yield cleared | {self.status: ""}
                return
            if hint := missing(*given):
                yield {self.status: player.hint(hint)}
                return
            begun = {go: gr.update(interactive=False), self.stop: gr.update(visible=True), self.packed: ""}
            yield begun | cleared
            after: Update = {self.status: ""}
            panel = self._owner(request)
            own = f"{panel}{go._id} "
            try:
                steps = self.jobs.run(own, lambda job: work(job, *given))
                made = yield from self._progress(steps)
                after |= show(made) if show else self._shown(made, values[-1])
            except Stopped:
                after = {self.status: player.hint("Stopped.")}
            except Exception as error:
                after = {self.status: player.error(self.studio.folder.told(error))}
            go_ready, stoppable = not self.jobs.busy(own), self.jobs.busy(panel)
            yield after | {go: gr.update(interactive=go_ready), self.stop: gr.update(visible=stoppable)}

        (when or go.click)(handler, [*inputs, *taken], [go, *self._parts, *others], concurrency_limit=None, **QUIET)

    def _progress(self, steps: Generator[Status, None, Any]) -> Generator[Update, None, Any]:
        with closing(steps):
            while True:
                try:
                    status = next(steps)
                except StopIteration as end:
                    return end.value
                yield {self.status: player.progress(status)}

    def _shown(self, made: list[Take], earlier: list[Take]) -> Update:
        takes = [*earlier, *made]
        choices = [(f"{k + 1}  {take.label}", k) for k, take in enumerate(takes)]
        return {
            self.result: player.player(made[0]),
            self.takes: takes,
            self.history: gr.update(choices=choices, value=len(earlier), visible=len(takes) > 1),
            self.zip: gr.update(visible=True),
        }

    def _stop(self, request: gr.Request) -> None:
        self.jobs.stop(self._owner(request))

    def _owner(self, request: gr.Request) -> str:
        return f"{owner(request)}{self.name} "

    def _back(self, takes: list[Take], chosen: int) -> str:
        return player.player(takes[chosen])

    def _pack(self, job: Job, takes: list[Take], chosen: int) -> Path:
        return self.studio.folder.zip(takes[chosen])

    def _packed(self, path: Path) -> Update:
        return {self.packed: player.ready(path, "" if notes.available() else NO_MIDI)}


def build(studio: Studio, jobs: Jobs) -> gr.Blocks:
    """The page, not yet started."""
    with gr.Blocks(title="timbrel", analytics_enabled=False, fill_width=False) as page:
        gr.HTML(player.HEADER, elem_classes="tb-header")
        with gr.Tabs(elem_classes="tb-tabs"):
            with gr.Tab("Transfer", id="transfer"):
                lists = [_transfer(studio, jobs)]
            with gr.Tab("Duet", id="duet"):
                _duet(studio, jobs)
            with gr.Tab("Accompany", id="accompany"):
                lists.append(_accompany(studio, jobs))
            with gr.Tab("Generate", id="generate"):
                _generate(studio, jobs)
            with gr.Tab("Fill a gap", id="inpaint"):
                _inpaint(studio, jobs)
            with gr.Tab("Extend", id="extend"):
                _extend(studio, jobs)
            with gr.Tab("Paint", id="paint"):
                _paint(studio, jobs)
            with gr.Tab("Instruments", id="instruments"):
                _instruments(studio, jobs, lists)
        gr.HTML(player.FOOTER, elem_classes="tb-footer")

        def fresh() -> list[Any]:
            return [gr.update(choices=studio.instruments) for _ in lists]

        def gone(request: gr.Request) -> None:
            jobs.stop(owner(request))

        page.load(fresh, None, lists, **QUIET)
        page.unload(gone)
    return page


def _form() -> gr.Column:
    return gr.Column(scale=4, min_width=300, elem_classes="tb-form")


def _audio(label: str, **options: Any) -> gr.Audio:
    return gr.Audio(
        label=label,
        sources=["upload", "microphone"],
        type="filepath",
        editable=False,
        buttons=[],
        waveform_options=WAVE,
        elem_classes="tb-audio",
        **options,
    )


def _seed() -> gr.Number:
    return gr.Number(0, label="Seed", precision=0, minimum=0, min_width=120)


def _takes() -> gr.Slider:
    return gr.Slider(1, MOST_TAKES, 1, step=1, label="Takes", min_width=120, buttons=[])


def _slider(low: float, high: float, value: float, step: float, label: str, info: str | None = None) -> gr.Slider:
    return gr.Slider(low, high, value, step=step, label=label, info=info, min_width=120, buttons=[])


def _go(text: str) -> gr.Button:
    return gr.Button(text, variant="primary", elem_classes="tb-go")


def _transfer(studio: Studio, jobs: Jobs) -> gr.Dropdown:
    with gr.Row(elem_classes="tb-tab"):
        with _form():
            music = _audio("Music", elem_id="music")
            with gr.Row(elem_classes="tb-examples"):
                examples = {gr.Button(text, size="sm", min_width=60): values for text, values in EXAMPLES.items()}
            kind = gr.Radio([INSTRUMENT, RECORDING], value=INSTRUMENT, label="Sound", elem_classes="tb-kind")
            with gr.Row(elem_classes="tb-instrument") as named:
                instrument = gr.Dropdown(studio.instruments, value="violin", label="Instrument", scale=3)
                hear = gr.Button("Hear it", size="sm", scale=0, min_width=90)
            clip = _audio("Sound", visible=False, elem_id="clip")
            strength = _slider(0, 1, 1, 0.05, "Strength", "how far from the source to the new sound")
            with gr.Accordion("More", open=False):
                transpose = gr.Dropdown(TRANSPOSE, value="auto", label="Transpose")
                mix = _slider(0, 1, 1, 0.05, "Mix", "the new sound beside the source; 0 is the source alone")
                with gr.Row():
                    seed, takes = _seed(), _takes()
            go = _go("Transfer")
            with gr.Accordion("Several files at once", open=False):
                files = gr.File(label="Files", file_count="multiple", file_types=["audio", "video"], height=140)
                every = gr.Button("Transfer them all")
        panel = Panel(
            studio, jobs, "transfer", "Choose music and a sound. What comes out plays here, beside its source."
        )

    sound = [kind, instrument, clip, strength, transpose, mix, seed]

    def settings(strength: float, transpose: Any, mix: float, seed: int) -> TransferSettings:
        return TransferSettings(strength=strength, transpose=transpose, mix=mix, seed=seed)

    def target(kind: str, instrument: str, clip: str) -> Path | str:
        return Path(clip) if kind == RECORDING else instrument

    def missing(music: Any, kind: str, instrument: str, clip: str, *numbers: Any) -> str:
        if not music:
            return "Choose some music first: a recording, the microphone, or an example."
        if kind == RECORDING and not clip:
            return "Choose a recording of the sound: some seconds of one instrument alone."
        if kind == INSTRUMENT and not instrument:
            return "Choose an instrument."
        return _unnumbered(*numbers)

    def work(job: Job, music: str, kind: str, instrument: str, clip: str, *numbers: Any) -> list[Take]:
        return studio.transfer(job, music, target(kind, instrument, clip), settings(*numbers[:-1]), numbers[-1])

    def work_all(job: Job, files: list[str], kind: str, instrument: str, clip: str, *numbers: Any) -> Any:
        return studio.transfer_all(job, files, target(kind, instrument, clip), settings(*numbers))

    panel.on(go, [music, *sound, takes], work, missing=missing)
    panel.on(
        every, [files, *sound], work_all, missing=missing, show=lambda made: {panel.result: player.outcomes(*made)}
    )
    panel.on(
        hear,
        [instrument],
        lambda job, name: studio.example(name),
        missing=lambda name: "" if name else "Choose an instrument.",
        show=lambda path: {panel.packed: player.example(path)},
    )
    kind.change(
        lambda kind: [gr.update(visible=kind == INSTRUMENT), gr.update(visible=kind == RECORDING)],
        kind,
        [named, clip],
        **QUIET,
    )
    for button, values in examples.items():
        button.click(
            lambda values=values: [str(PIANO), INSTRUMENT, *values],
            None,
            [music, kind, instrument, strength, mix],
            **QUIET,
        )
    return instrument


def _unnumbered(*numbers: Any) -> str:
    return "A number is missing: give one, such as 0." if None in numbers else ""


def _duet(studio: Studio, jobs: Jobs) -> None:
    players = studio.players()
    with gr.Row(elem_classes="tb-tab"):
        with _form():
            gr.Markdown("One idea, made up by two instruments that play together.")
            instruments = gr.CheckboxGroup(players, value=players[:2], label="Instruments")
            seconds = _slider(2, 60, 10, 1, "Seconds")
            split = _slider(0, 49, 5, 1, "Shared steps", "of 50: with more they play more alike")
            seed = _seed()
            go = _go("Play")
        panel = Panel(studio, jobs, "duet", "Each instrument alone, and both together.")

    def missing(instruments: list[str], *numbers: Any) -> str:
        return "Choose two instruments." if len(instruments) < 2 else _unnumbered(*numbers)

    def work(job: Job, instruments: list[str], seconds: float, split: int, seed: int) -> list[Take]:
        return studio.duet(job, instruments, DuetSettings(seconds=seconds, split=split, seed=seed))

    panel.on(go, [instruments, seconds, split, seed], work, missing=missing)


def _accompany(studio: Studio, jobs: Jobs) -> gr.Dropdown:
    main, cross = "Main model", "Cross-diffusion"
    with gr.Row(elem_classes="tb-tab"):
        with _form():
            voice = _audio("Voice", elem_id="voice")
            instruments = gr.Dropdown(studio.instruments, value=["violin"], label="Instruments", multiselect=True)
            level = _slider(-30, 10, -6, 1, "Level", "of each instrument against the voice, in dB")
            with gr.Accordion("More", open=False):
                transpose = gr.Dropdown(TRANSPOSE, value=0, label="Transpose")
                method = gr.Radio(
                    [main, cross], value=main, label="Model", info=f"slow, and for {', '.join(studio.players())}"
                )
                seed = _seed()
            go = _go("Accompany")
        panel = Panel(studio, jobs, "accompany", "Instruments that follow a voice, and the mix with it.")

    def missing(voice: Any, instruments: list[str], *numbers: Any) -> str:
        if not voice:
            return "Choose a voice first: sing something, or upload it."
        return _unnumbered(*numbers) if instruments else "Choose at least one instrument."

    def work(
        job: Job, voice: str, instruments: list[str], level: float, transpose: Any, method: str, seed: int
    ) -> list[Take]:
        settings = AccompanySettings(level_db=level, transpose=transpose, seed=seed)
        return studio.accompany(job, voice, instruments, settings, Method("cross" if method == cross else "default"))

    panel.on(go, [voice, instruments, level, transpose, method, seed], work, missing=missing)
    return instruments


def _generate(studio: Studio, jobs: Jobs) -> None:
    with gr.Row(elem_classes="tb-tab"):
        with _form():
            prompt = gr.Textbox(label="What is to be heard", placeholder="a harp melody", max_lines=2)
            with gr.Row(elem_classes="tb-examples"):
                texts = ("a harp melody", "rain", "a jazz drum kit")
                examples = [gr.Button(text, size="sm", min_width=60) for text in texts]
            seconds = _slider(1, 60, 8, 1, "Seconds")
            loop = gr.Checkbox(label="A loop: its end goes on at its start")
            with gr.Row():
                seed, takes = _seed(), _takes()
            go = _go("Generate")
        panel = Panel(studio, jobs, "generate", "Name a sound: an instrument, a drum, an animal, the weather.")

    def missing(prompt: str, *numbers: Any) -> str:
        return _unnumbered(*numbers) if prompt.strip() else "Say in a few English words what is to be heard."

    def work(job: Job, prompt: str, seconds: float, loop: bool, seed: int, takes: int) -> list[Take]:
        return studio.generate(job, prompt, seconds, takes, loop, GenerateSettings(seed=seed))

    panel.on(go, [prompt, seconds, loop, seed, takes], work, missing=missing)
    for text, button in zip(texts, examples, strict=True):
        button.click(lambda text=text: text, None, prompt, **QUIET)


def _inpaint(studio: Studio, jobs: Jobs) -> None:
    with gr.Row(elem_classes="tb-tab"):
        with _form():
            music = _audio("Recording", elem_id="gapped")
            with gr.Row():
                start = gr.Number(None, label="From (s)", minimum=0, elem_id="gap-start", min_width=100)
                end = gr.Number(None, label="To (s)", minimum=0, elem_id="gap-end", min_width=100)
            prompt = gr.Textbox(label="What is to be heard there", placeholder="whatever fits", max_lines=2)
            seed = _seed()
            go = _go("Fill the gap")
        panel = Panel(studio, jobs, "inpaint", "Choose a recording, then drag over its spectrogram where it is bad.")

    def missing(music: Any, start: Any, end: Any, prompt: str, seed: Any) -> str:
        if not music:
            return "Choose a recording first."
        if start is None or end is None or start >= end:
            return "Drag over the spectrogram, or give the seconds where the gap begins and ends."
        return _unnumbered(seed)

    def work(job: Job, music: str, start: float, end: float, prompt: str, seed: int) -> list[Take]:
        return studio.inpaint(job, music, (start, end), prompt, GenerateSettings(seed=seed))

    def look(job: Job, music: str) -> str:
        sound = studio.folder.source(studio.folder.uploaded(music))
        return player.player(Take("recording", (sound,)), select=True)

    panel.on(go, [music], look, show=lambda shown: {panel.result: shown}, when=music.change)
    panel.on(go, [music, start, end, prompt, seed], work, missing=missing)


def _extend(studio: Studio, jobs: Jobs) -> None:
    after, before = "After its end", "Before its start"
    with gr.Row(elem_classes="tb-tab"):
        with _form():
            music = _audio("Recording", elem_id="short")
            where = gr.Radio([after, before], value=after, label="Where")
            seconds = _slider(1, 30, 5, 1, "Seconds more")
            prompt = gr.Textbox(label="What is to be heard there", placeholder="whatever fits", max_lines=2)
            seed = _seed()
            go = _go("Extend")
        panel = Panel(studio, jobs, "extend", "A recording goes on from its end, or begins earlier.")

    def missing(music: Any, where: str, *numbers: Any) -> str:
        return _unnumbered(*numbers) if music else "Choose a recording first."

    def work(job: Job, music: str, where: str, seconds: float, prompt: str, seed: int) -> list[Take]:
        return studio.extend(job, music, seconds, prompt, where == before, GenerateSettings(seed=seed))

    panel.on(go, [music, where, seconds, prompt, seed], work, missing=missing)


def _paint(studio: Studio, jobs: Jobs) -> None:
    with gr.Row(elem_classes="tb-tab"):
        with _form():
            music = _audio("Music", elem_id="painted")
            count = gr.Slider(1, MOST_TAKES, 2, step=1, label="Pictures", buttons=[])
            prompt = gr.Textbox(PaintSettings.prompt, label="Before the music's token", max_lines=2)
            with gr.Row():
                size = gr.Dropdown([128, 256, 512, 1024], value=512, label="Pixels", min_width=120)
                seed = _seed()
            go = _go("Paint")
            film = gr.Button("Make a movie of all of it")
        panel = Panel(studio, jobs, "paint", "Pictures that 30 s of music call up, or a movie in time with all of it.")

    def missing(music: Any, count: Any, prompt: str, *numbers: Any) -> str:
        return _unnumbered(count, *numbers) if music else "Choose some music first."

    def work(job: Job, music: str, count: int, prompt: str, size: int, seed: int) -> list[Path]:
        return studio.paint(job, music, count, PaintSettings(prompt=prompt, size=size, seed=seed))

    def work_film(job: Job, music: str, count: int, prompt: str, size: int, seed: int) -> Path:
        return studio.movie(job, music, PaintSettings(prompt=prompt, size=size, seed=seed))

    inputs = [music, count, prompt, size, seed]
    panel.on(go, inputs, work, missing=missing, show=lambda made: {panel.result: player.pictures(made)})
    panel.on(film, inputs, work_film, missing=missing, show=lambda made: {panel.result: player.movie(made)})


def _instruments(studio: Studio, jobs: Jobs, lists: Sequence[gr.Dropdown]) -> None:
    with gr.Row(elem_classes="tb-tab"):
        with _form():
            gr.Markdown("A named instrument of your own, from recordings of it alone: different notes, some seconds.")
            name = gr.Textbox(label="Name", placeholder="my-cello", max_lines=1)
            clips = gr.File(label="Recordings", file_count="multiple", file_types=["audio", "video"], height=160)
            add = _go("Add")
            own = gr.Dropdown(studio.own_instruments, value=None, label="Your own instruments")
            remove = gr.Button("Remove")
        panel = Panel(studio, jobs, "instruments", "")
        panel.result.value = player.instruments(studio.instruments, studio.own_instruments)

    def shown(_: Any) -> Update:
        updates: Update = {one: gr.update(choices=studio.instruments) for one in lists}
        updates |= {own: gr.update(choices=studio.own_instruments, value=None), name: "", clips: None}
        return updates | {panel.result: player.instruments(studio.instruments, studio.own_instruments)}

    def missing(name: str, clips: Any) -> str:
        if not name.strip():
            return "Give it a name, such as my-cello."
        return "" if clips else "Choose some recordings of it."

    panel.on(add, [name, clips], studio.add_instrument, missing=missing, show=shown, others=[*lists, own, name, clips])
    panel.on(
        remove,
        [own],
        studio.remove_instrument,
        missing=lambda name: "" if name else "Choose one of your own instruments.",
        show=shown,
        others=[*lists, own, name, clips],
    )
