"""Failures that are nobody's mistake in the settings."""


class RunError(RuntimeError):
    """A run cannot go on; the message names where it stopped, why, and what to try. Exit code 1."""
