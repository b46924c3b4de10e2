"""Training of binary, scalar and soft quantizers, which select no nearest codeword."""

from __future__ import annotations

from .protocol import CodebookTraining


class NoCodebooks(CodebookTraining):
    """Codebook training of quantizers without codebooks: all methods are those of the base class."""
