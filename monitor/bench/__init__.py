"""The monitor in figures, on this machine: what `monitor bench` measures and how it tells it.

A stage is a file with `run(bench)`, which yields `Figure`s; `Bench` lends it workloads, a broker
and daemons. What is compared runs in the same minutes, in turns, so that a busy machine is fair to
both: the ratios hold where the figures themselves do not.
"""
