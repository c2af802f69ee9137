"""Freed memory is handed back where the C library can, and nowhere is that an error."""

import ctypes
from types import SimpleNamespace

import pytest

from isthmus._memory import give_back_memory


def test_glibc_is_told_to_keep_nothing(monkeypatch):
    told = []
    library = SimpleNamespace(malloc_trim=lambda keep: told.append(keep.value))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    give_back_memory()
    assert told == [0]


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_another_c_library_is_left_alone(monkeypatch, error):
    def refuse(name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    give_back_memory()
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    give_back_memory()
