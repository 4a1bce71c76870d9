"""What it takes to run LeadPulse around the worker itself."""
