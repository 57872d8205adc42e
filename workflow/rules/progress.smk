"""On a terminal, one line for the whole grid in place of a description of every job.

Snakemake's own log file, whose name it prints at the end, still has every detail; errors and warnings are shown as always.
Where the output is no terminal (a file, a cluster's log), or `--verbose` or `--printshellcmds` asks for more, nothing changes.
"""

import logging
import sys
import time

from snakemake.logging import logger


class OneLine(logging.Filter):
    """Follows the jobs, redraws the line, and lets through whatever is not about a single job.

    Args:
        stream: the terminal.
        width: its width in characters.
    """

    def __init__(self, stream, width: int) -> None:
        super().__init__()
        self.stream, self.width, self.started = stream, width, time.monotonic()
        self.rules, self.running, self.failed, self.done, self.total = {}, set(), set(), 0, None

    def filter(self, record) -> bool:
        event = str(getattr(record, "event", "") or "")
        if event == "job_info":
            self.rules[record.jobid] = record.rule_name
            self.running.add(record.jobid)
        elif event == "job_finished":
            self.running.discard(record.job_id)
        elif event == "job_error":
            self.running.discard(record.jobid)
            self.failed.add(record.jobid)
        elif event == "progress":
            self.done, self.total = record.done, record.total
        if event == "job_error" or record.levelno >= logging.WARNING:
            self.clear()
            return True
        silent = ("job_info", "job_started", "job_finished", "progress", "shellcmd", "resources_info", "run_info")
        if event in (*silent, "group_info") or record.getMessage().startswith(("Select jobs", "Assuming unrestricted")):
            self.draw()
            return False
        self.clear()
        return True

    def draw(self) -> None:
        names = sorted(self.rules[job] for job in self.running)
        shown = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
        total = "" if self.total is None else f" of {self.total}"
        failed = f", {len(self.failed)} failed" if self.failed else ""
        line = f"{self.done}{total} jobs done{failed}; running: {shown or 'none'}{self.left()}"
        self.stream.write(f"\r\033[K{line[: self.width - 1]}")
        self.stream.flush()

    def left(self) -> str:
        """An estimate of the time left, from the mean time of a finished job."""
        if not self.done or not self.total:
            return ""
        seconds = (time.monotonic() - self.started) * (self.total - self.done) / self.done
        hours, minutes = divmod(int(seconds / 60 + 0.5), 60)
        return f"; about {hours} h {minutes:02} min left" if hours else f"; about {max(minutes, 1)} min left"

    def clear(self) -> None:
        self.stream.write("\r\033[K")
        self.stream.flush()


def show_one_line() -> None:
    """Put the line in place of job descriptions, where somebody looks at a terminal."""
    import shutil

    output = workflow.output_settings
    if not workflow.is_main_process or output.dryrun or output.verbose or output.printshellcmds:
        return
    for handler in logger.handlers:
        stream = getattr(handler, "stream", None)
        if handler.name == "DefaultStreamHandler" and stream is not None and stream.isatty():
            handler.addFilter(OneLine(stream, shutil.get_terminal_size().columns))


show_one_line()
