"""`timbrel web`."""

from __future__ import annotations

import os
from typing import Annotated

from tyro.conf import arg


def web(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    share: bool = False,
    password: Annotated[str | None, arg(metavar="WORD", help_behavior_hint="(default: TIMBREL_PASSWORD)")] = None,
    api_only: bool = False,
    no_browser: bool = False,
    model: Annotated[str | None, arg(metavar="NAME|FOLDER", help_behavior_hint="(default: default)")] = None,
    most_minutes: float = 60.0,
    most_megabytes: int = 500,
) -> None:
    """Open a page in the browser that does what the commands do, on this machine alone. It needs timbrel[web].

    For example:

        timbrel web
        TIMBREL_PASSWORD=... timbrel web --host 0.0.0.0

    The second lets others in the house in; their user is timbrel.

    Args:
        host: The address that it listens at. One that others reach needs a password.
        port: Of that address; 0 is any that is free.
        share: Also at a public address, for a day or so, through gradio's servers. It needs a password.
        password: What lets somebody in. In the environment nobody else on this machine sees it.
        api_only: The interface for programs alone, without a page.
        no_browser: Do not open a browser.
        model: The transfer model.
        most_minutes: How long an upload may be.
        most_megabytes: How large an upload may be.
    """
    from timbrel.web.server import serve

    serve(
        host=host,
        port=port,
        share=share,
        password=password or os.environ.get("TIMBREL_PASSWORD"),
        api_only=api_only,
        browser=not no_browser,
        model=model,
        most_minutes=most_minutes,
        most_megabytes=most_megabytes,
    )
