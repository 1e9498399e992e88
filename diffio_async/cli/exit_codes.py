"""What the command answers its caller with."""

import signal

OK = 0
#: At least one file was not restored; each such file was reported.
FAILED = 1
#: Wrong usage or configuration; nothing was sent.
USAGE = 2
#: Ctrl-C and SIGTERM, as shells spell them: 130 and 143.
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
