"""LeadPulse: scores B2B leads while they act."""
