"""Faults, load and attacks against private daemons, each part a module; `scripts/torture` runs them."""
