"""The commands behind ``sats``, one file each: parse what was asked, make one call, print the answer."""

COMMANDS = {
    "demo": ("sats.commands.demo", "main"),
    "train": ("sats.commands.train", "main"),
    "resume": ("sats.commands.train", "resume"),
    "extend": ("sats.commands.extend", "main"),
    "bench": ("sats.commands.bench", "main"),
    "evaluate": ("sats.commands.evaluate", "main"),
    "predict": ("sats.commands.predict", "main"),
    "data": ("sats.commands.data", "main"),
    "export": ("sats.commands.export", "main"),
    "report": ("sats.commands.report", "main"),
    "runs": ("sats.commands.runs", "main"),
    "app": ("sats.commands.app", "main"),
    "completion": ("sats.commands.completion", "main"),
}
"""Each by its name: the module and the function that run it."""
SHARED = ("train", "resume", "extend")
"""What several processes can do together, under torchrun."""
