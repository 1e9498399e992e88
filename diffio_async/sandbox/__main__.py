"""`python -m diffio_async.sandbox`: run a sandbox until it is stopped."""

import sys

from diffio_async.sandbox.command import discard_unwritten, main

status = main()
discard_unwritten()
sys.exit(status)
