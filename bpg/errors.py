"""The one kind of error that a user is meant to see."""


class BPGError(Exception):
    """Bad input or an impossible request.

    The message is one line that names the file, the place in it and the remedy. Stages print it
    without a stack trace and exit with status 1; every other exception is a fault of ours.
    """
