"""`python -m diffio_async` is the command `diffio-async`."""

from diffio_async.cli import main

if __name__ == "__main__":
    main()
