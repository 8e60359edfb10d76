"""FTP, where the operator allows it."""

from __future__ import annotations
