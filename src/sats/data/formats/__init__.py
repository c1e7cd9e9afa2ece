"""Formats that people have: each file reads one, as images whose masks can be made; `sats.data.convert` writes them."""
