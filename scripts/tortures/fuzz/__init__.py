"""Hostile inputs: what reads strangers' bytes, as functions of bytes that may refuse in our own words and no others."""
