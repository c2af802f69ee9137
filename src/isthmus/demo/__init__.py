"""The whole story on one data set, told to a person and as plain values."""

from isthmus.demo.story import run_demo

__all__ = ["run_demo"]
