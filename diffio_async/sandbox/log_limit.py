"""A limit on log records that anybody who can connect may cause."""

import logging
import time

#: Malformed requests that are reported within so many seconds; more are counted.
_MAX_REPORTS, _REPORT_SECONDS = 5, 10.0
#: Characters of such a report.
_MAX_REPORT = 300


class ServerErrorLimit(logging.Filter):
    """Lets few records of aiohttp's server through: anybody who can connect makes it log."""

    def __init__(self) -> None:
        super().__init__()
        self._reports: list[float] = []
        self._suppressed = 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Make a record one line, or leave it out."""
        if not record.name.startswith("aiohttp."):
            return True
        now = time.monotonic()
        self._reports = [at for at in self._reports if now - at < _REPORT_SECONDS]
        if len(self._reports) >= _MAX_REPORTS:
            self._suppressed += 1
            return False
        self._reports.append(now)
        text, error = record.getMessage(), record.exc_info[1] if record.exc_info else None
        if error is not None:
            text += f" ({type(error).__name__}: {' '.join(str(error).split())})"
        missed = f" (and {self._suppressed} more before it)" if self._suppressed else ""
        record.msg, record.args = text[:_MAX_REPORT] + missed, ()
        record.exc_info = record.exc_text = None
        self._suppressed = 0
        return True
