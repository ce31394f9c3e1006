"""Measures batchflow side by side with bare clients that make the same calls; see README.md."""
