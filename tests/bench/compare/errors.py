"""The one exception of ours, for what the user should read as a sentence."""


class BenchError(Exception):
    """Something is missing or failed; the message says what to do."""
