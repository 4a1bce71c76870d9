"""Every fault again and again under load: `make soak`."""
