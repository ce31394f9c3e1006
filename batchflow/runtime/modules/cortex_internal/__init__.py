"""What Cortex's own package of this name offered to handlers."""
