"""`serve` starts the page on this machine."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from timbrel.errors import InputError, MissingDependencyError
from timbrel.parallel import processors

LOCAL = ("127.0.0.1", "localhost", "::1")
USER = "timbrel"
POLICY = (  # a browser asks no other machine for anything
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'; form-action 'self'; "
    "base-uri 'self'"
)
HERE = Path(__file__).parent


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    password: str | None = None,
    api_only: bool = False,
    browser: bool = True,
    model: str | None = None,
    most_minutes: float = 60.0,
    most_megabytes: int = 500,
) -> None:
    """Serves the page until the process ends.

    Args:
        host: the address that it listens at; others than this machine's own need a password.
        port: 0 is any that is free.
        share: also at an address of gradio's, through its servers; needs a password.
        password: asked for, of the user "timbrel".
        api_only: the HTTP interface without the page.
        browser: open the page in a browser.
        model: the transfer model, a shipped name or a folder.
        most_minutes: how long an upload may be.
        most_megabytes: how large an upload may be.

    Raises:
        InputError: another host, or `share`, without a password.
        MissingDependencyError: gradio is not installed.
    """
    if (share or host not in LOCAL) and not password:
        what = "--share" if share else f"--host {host}"
        raise InputError(
            f"{what} lets others in, and there is no password; give one: TIMBREL_PASSWORD=... timbrel web {what}"
        )
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with _place() as place:
        os.environ["GRADIO_TEMP_DIR"] = str(place)
        try:
            import gradio as gr
        except ImportError as error:
            raise MissingDependencyError("gradio is not installed: pip install 'timbrel[web]'") from error
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        from timbrel.web import api, page
        from timbrel.web.jobs import Jobs
        from timbrel.web.sounds import Folder, sweep_hourly
        from timbrel.web.tasks import PIANO, Studio

        _refuse_other_machines()
        sweep_hourly(place)
        jobs, studio = Jobs(processors()), Studio(Folder(place, most_minutes), model)
        studio.pipe()
        blocks = gr.Blocks(title="timbrel", analytics_enabled=False) if api_only else page.build(studio, jobs)
        with blocks:
            api.add(studio, jobs)
        middleware = [Middleware(OwnFilesOnly)]
        if host in LOCAL and not share:  # no other name leads here: a page elsewhere cannot make one that does
            middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=[*LOCAL, "[::1]"]))
        _, address, public = blocks.queue(default_concurrency_limit=None).launch(
            server_name=host,
            server_port=port or None,
            share=share,
            auth=(USER, password) if password else None,
            inbrowser=browser and not api_only,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=f"{most_megabytes}mb",
            favicon_path=HERE / "favicon.svg",
            footer_links=[],
            run_history=False,
            allowed_paths=[str(PIANO)],
            ssr_mode=False,
            pwa=False,
            enable_monitoring=False,
            app_kwargs={"middleware": middleware},
            theme=_theme(),
            css_paths=[HERE / "page.css"],
            head=f"<script>{(HERE / 'page.js').read_text()}</script>",
        )
        print(f"{' and '.join(filter(None, [address, public]))}   (Ctrl-C ends it)", flush=True)
        try:
            while True:
                time.sleep(3600)
        finally:
            jobs.stop("")
            blocks.close(verbose=False)


@contextmanager
def _place() -> Iterator[Path]:
    """A new folder for this server's files, that nobody else may read, beside those of others; removed at the end."""
    from platformdirs import user_cache_path

    parent = user_cache_path("timbrel", appauthor=False) / "web"
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = Path(tempfile.mkdtemp(prefix="server-", dir=parent)).resolve()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _theme() -> Any:
    import gradio as gr

    system = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    return gr.themes.Base(
        primary_hue=gr.themes.colors.orange,
        neutral_hue=gr.themes.colors.stone,
        font=system,
        font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"],
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_md,
    )


def _refuse_other_machines() -> None:
    """A client may name an address in place of an upload, which gradio would fetch: nothing is fetched here."""
    import gradio as gr
    from gradio import processing_utils

    async def refuse(url: str, *_: Any, **__: Any) -> str:
        raise gr.Error(f"{url!r:.100} is an address; expected an upload", print_exception=False)

    for name in ("async_ssrf_protected_download", "async_ssrf_protected_get"):
        if not hasattr(processing_utils, name):
            raise MissingDependencyError(
                f"gradio {gr.__version__} has no {name}, through which addresses are refused: install the version "
                "that constraints.txt names"
            )
        setattr(processing_utils, name, refuse)


Message = MutableMapping[str, Any]


class OwnFilesOnly:
    """Middleware: answers come with `POLICY`, and no request makes the server ask another machine."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(
        self, scope: Message, receive: Callable[..., Any], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", POLICY.encode()),
                    (b"referrer-policy", b"no-referrer"),
                ]
            await send(message)

        path = scope.get("path", "")
        if scope["type"] == "http" and ("file=http" in path or "/proxy=" in path):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b"only files of this server"})
            return
        await self.app(scope, receive, with_policy)
