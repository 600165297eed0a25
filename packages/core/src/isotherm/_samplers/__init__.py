"""The samplers that users call."""
