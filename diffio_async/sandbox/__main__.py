"""`python -m diffio_async.sandbox`: run a sandbox until it is stopped."""

import sys

from diffio_async.sandbox.command import main

sys.exit(main())
