"""The page of ``demoe app``: drop photographs, choose the expert or let the router choose, compare, download."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import gradio as gr
from torch import nn

from demoe.core.tasks import EXPERTS

from . import slider
from .uploads import ALL, BLURS, ONE, Restored, archive, restored

WELCOME = """# Deblur photographs
Network: {network}. Everything is computed on this machine, and nothing leaves it."""
SHOW = """
let root = null, slider = null;
const show = () => {
  const place = element.querySelector(".demoe-here");
  if (!place || !props.value) return;
  if (place !== root || !place.firstChild) {
    root = place;
    slider = demoeCompare(root, { full: async (shown) => shown.whole, save: null });
  }
  slider.show(props.value);
};
watch("value", show);
show();
"""


def page(model: nn.Module, network: str, folder: Path, max_memory: int | None = None) -> gr.Blocks:
    """The page; results go to new folders in ``folder``."""

    def run(files, choice, old, progress=gr.Progress(track_tqdm=True)):  # noqa: B008  Gradio's way of asking for it
        results, refused = [], []
        if not files:
            yield {status: "Choose at least one photograph first."}
            return
        _forget(old)
        here = Path(mkdtemp(dir=folder))
        started = {status: _status(0, files, []), kept: [], outcome: gr.update(visible=False)}
        yield started | busy(True)
        progress(0, desc=files[0][1])
        for number, result in enumerate(restored(files, here, model, choice, max_memory), 1):
            (refused if isinstance(result, str) else results).append(result)
            names = [(done.file.name, index) for index, done in enumerate(results)]
            changes = {status: _status(number, files, refused), kept: results}
            if len(results) == 1 and results[0] is result:
                changes |= view(result) | {which: gr.update(choices=names, value=0), outcome: gr.update(visible=True)}
            elif results:
                changes |= {which: gr.update(choices=names)}
            if number == len(files):
                changes |= finish(results)
            else:
                progress(number / len(files), desc=files[number][1])
            yield changes

    def busy(now: bool) -> dict:
        return {working: gr.update(visible=now), stop: gr.update(visible=now)}

    def finish(results: list[Restored]) -> dict:
        packed = str(archive(results)) if len(results) > 1 else None
        return {every: gr.update(value=packed, visible=packed is not None)} | busy(False)

    def view(result: Restored) -> dict:
        return {compared: result.shown, said: result.said, one: gr.update(value=str(result.file))}

    def look(results: list[Restored], index: int | None):
        return view(results[index]) if results and index is not None else {said: ""}

    with gr.Blocks(title="DeMoE: deblur photographs", analytics_enabled=False) as blocks:
        gr.Markdown(WELCOME.format(network=network))
        files = gr.File(label="Photographs", file_count="multiple", height=220)
        files.preprocess = _uploaded
        experts = [(f"the expert for {BLURS[name]}", name) for name in EXPERTS]
        choices = [(ONE, ONE), (ALL, ALL), *experts]
        choice = gr.Radio(choices, value=ONE, label="Who removes the blur")
        with gr.Row():
            start = gr.Button("Deblur", variant="primary")
            stop = gr.Button("Stop after this photograph", visible=False)
        working = gr.HTML('<div style="height: 60px"></div>', visible=False)  # where the progress is drawn
        status = gr.Markdown(elem_id="status")
        kept = gr.State([], delete_callback=_forget)
        with gr.Column(visible=False) as outcome:
            which = gr.Dropdown([], label="Photograph", filterable=False, elem_id="which")
            compared = gr.HTML(html_template='<div class="demoe-here"></div>', js_on_load=slider.SCRIPT + SHOW)
            said = gr.Markdown(elem_id="said")
            with gr.Row():
                one = gr.DownloadButton("Download this one", variant="primary")
                every = gr.DownloadButton("Download all (zip)", visible=False)
        outputs = [status, working, stop, kept, outcome, which, compared, said, one, every]
        running = start.click(run, [files, choice, kept], outputs, show_progress_on=working, api_visibility="private")
        stop.click(finish, kept, [working, stop, every], cancels=running, api_visibility="private")
        which.input(look, [kept, which], [compared, said, one], show_progress="hidden", api_visibility="private")
    return blocks


def _forget(results: list[Restored]) -> None:
    """Removes what a run made."""
    for result in results:
        rmtree(result.file.parent, ignore_errors=True)


def _uploaded(payload) -> list[tuple[Path, str]]:
    """Where each file that came lies, and the name that it had: Gradio itself hands on a simplified one."""
    return [(Path(file.path), Path(file.orig_name or file.path).name) for file in payload or []]


def _status(done: int, files: list[tuple[Path, str]], refused: list[str]) -> str:
    """How far it is, and a line for each file that could not be used, as Markdown."""
    said = f"{done - len(refused)} of {len(files)} photograph{'s' * (len(files) > 1)} deblurred"
    said += f"; now: {_plain(files[done][1])} ..." if done < len(files) else "."
    return "\n".join([said, "", *(f"- {_plain(text)}" for text in refused)])


def _plain(text: str) -> str:
    """Text as Markdown that shows it as it is: a name may hold any character."""
    return "".join(f"\\{letter}" if letter in r"\`*_{}[]()#+!|<>~" else letter for letter in text)


def launch(blocks: gr.Blocks, folder: Path, port: int | None, browser: bool, said: Callable[[str], object]) -> None:
    """Serves the page on this machine alone until Ctrl-C. Raises ``OSError`` where ``port`` is taken."""
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # none is fetched
    _, address, _ = blocks.launch(
        server_name="127.0.0.1",
        server_port=port,
        share=False,
        inbrowser=browser,
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        footer_links=[],
        run_history=False,
        allowed_paths=[str(folder)],
        css=slider.STYLE,
        theme=gr.themes.Default(primary_hue="blue", **fonts).set(button_primary_background_fill="*primary_600"),
    )
    said(address)
    blocks.block_thread()
