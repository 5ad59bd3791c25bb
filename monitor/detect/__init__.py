"""The heart: transform, reconstruct, compare. Pure: no I/O, no Kafka, no metrics, no clock."""
