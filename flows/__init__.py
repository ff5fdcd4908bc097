"""The order of things: the run file, the plan, the pipeline and the command line."""
