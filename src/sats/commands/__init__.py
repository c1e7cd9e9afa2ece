"""The commands behind ``sats``, one file each: parse what was asked, make one call, print the answer."""
