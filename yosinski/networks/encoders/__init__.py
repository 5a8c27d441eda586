"""Encoders of the library transformers as networks: described by their configuration, built of their modules."""
