"""What the monitor says of itself: metrics, health and logs."""
