"""Training of binary, scalar and soft quantizers, which select no nearest codeword."""

from __future__ import annotations

from .protocol import CodebookTraining


class NoCodebooks(CodebookTraining):
    """Nothing is started, revived or priced."""
