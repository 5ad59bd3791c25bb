"""The daemon: a source of micro-batches, the pipeline that judges them, a sink for what it says."""
