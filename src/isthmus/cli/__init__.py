"""The `isthmus` command."""

from isthmus.cli.app import main

__all__ = ["main"]
