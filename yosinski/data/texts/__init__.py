"""Texts: data sets of token sequences, from their words or files to stores."""
