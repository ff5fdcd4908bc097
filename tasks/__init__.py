"""The ten stages, one folder each; `stage` and `shards` are what they share."""
