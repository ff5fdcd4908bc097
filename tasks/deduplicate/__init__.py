"""Deduplicate: exact copies, then near-copies by MinHash over character n-grams; one survivor a cluster."""
