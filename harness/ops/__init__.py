"""Numeric kernels that several methods share: tensors in, tensors out, no files, no globals."""
