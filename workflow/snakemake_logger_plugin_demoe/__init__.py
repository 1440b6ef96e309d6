"""What a person sees of Snakemake: a line for each network and notebook that is done, and why one failed.

Snakemake finds a logger by the name of its module; it is called with ``--logger demoe``. All that it does not show
stands in ``.snakemake/log/``.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

HEARTBEAT = 60  # seconds between signs of life


def clock(seconds: float) -> str:
    """Seconds as "3:07" or "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class LogHandler(LogHandlerBase):
    """Says what begins, ends and fails; everything else is left out but errors."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.jobs: dict[int, dict] = {}  # of those that run: what they are and since when
        self.total, self.done = 0, 0
        self.failed: set[int] = set()  # Snakemake tells of each twice
        self.said = time.monotonic()
        threading.Thread(target=self._tick, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Called for everything that happens in a workflow."""
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            stats = getattr(record, "stats", {})
            self.total = sum(stats.get(rule, 0) for rule in ("network", "notebook"))
            if self.total and not self.jobs:
                self.say(f"to do: {stats.get('network', 0)} networks, {stats.get('notebook', 0)} notebooks")
        elif event == LogEvent.JOB_INFO:
            wildcards = {**record.wildcards}
            name = wildcards.get("run") or wildcards.get("notebook") or record.rule_name
            self.jobs[record.jobid] = {"name": name, "rule": record.rule_name, "began": time.monotonic()}
            if self.common_settings.dryrun:
                self.say(
                    f"{record.rule_name} {name}, {record.threads} threads: {record.reason.partition(':')[0].lower()}"
                )
            if self.common_settings.printshellcmds and record.shellcmd:
                self.say(record.shellcmd)
        elif event == LogEvent.JOB_FINISHED:
            self.finished(self.jobs.pop(record.job_id, None))
        elif event == LogEvent.JOB_ERROR and record.jobid not in self.failed:
            self.failed.add(record.jobid)
            job = self.jobs.pop(record.jobid, {"name": record.rule_name})
            self.complain(job["name"], record.log)
        elif record.levelno >= logging.ERROR and event != LogEvent.JOB_ERROR and not self.failed:
            if getattr(record, "exception", "") == "RuleException":
                return  # of a job: its JOB_ERROR follows
            self.say(f"run_all.sh: {record.getMessage()}", sys.stderr)

    def finished(self, job: dict | None) -> None:
        """Tells of a network or notebook that is done."""
        if job and job["rule"] in ("network", "notebook"):
            self.done += 1
            spent = clock(time.monotonic() - job["began"])
            self.say(f"{job['name']}: done in {spent} ({self.done} of {self.total})")

    def complain(self, name: str, logs: list[str]) -> None:
        """Tells of one that failed by the last line that it printed, ``demoe``'s own if there is one."""
        log = Path(logs[0].split(" ")[0]) if logs else None
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log and log.is_file() else []
        lines = [line.strip() for line in reversed(lines) if line.strip()] + [f"{name} failed"]
        reason = next(
            (line for line in lines if line.startswith("demoe: ")), lines[0]
        )  # else torchrun has the last word
        if reason.endswith(("KeyboardInterrupt", "interrupted")):
            return  # the person knows
        self.say(f"run_all.sh: {reason}" + (f" ({log})" if log else ""), sys.stderr)

    def say(self, text: str, stream=None) -> None:
        """A line, at once."""
        print(text, file=stream or sys.stdout, flush=True)
        self.said = time.monotonic()

    def _tick(self) -> None:
        while True:
            time.sleep(1)
            jobs = list(self.jobs.values())
            if jobs and time.monotonic() - self.said >= HEARTBEAT:
                self.say(
                    "running: " + ", ".join(f"{one['name']} {clock(time.monotonic() - one['began'])}" for one in jobs)
                )


__all__ = ["LogHandler"]
