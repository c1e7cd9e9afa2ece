"""Failures that are nobody's mistake in the settings."""


class RunError(RuntimeError):
    """A run cannot go on; the message names where it stopped, why, and what to try. Exit code 1."""


class StoppedElsewhereError(RunError):
    """Another process of the run failed and told the user why: this one has nothing to add."""
