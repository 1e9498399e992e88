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
#: The terminal of a server went away (SIGHUP): 129.
HUNG_UP = 128 + 1
#: How a server is asked to stop.
STOPPED = frozenset({INTERRUPTED, TERMINATED, HUNG_UP})
