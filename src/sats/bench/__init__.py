"""Sweeps: variants of methods over protocols, class orders and seeds, as runs that share what can be shared."""
