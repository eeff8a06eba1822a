"""Training one network for one painting."""
