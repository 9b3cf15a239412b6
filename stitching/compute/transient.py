"""Marks of identities that hold for one call: nothing is kept for them afterwards.

A function of a user's has no file to hash, and what it computes may depend on anything. So its
identity is a mark, new in every call, and the cache keeps marked entries aside until its end.
"""

import uuid

_MARK = "for-this-call-only-"


def new_mark() -> str:
    """Return a mark that no other call has."""
    return f"{_MARK}{uuid.uuid4().hex}"


def is_marked(identity: str) -> bool:
    """Return whether an identity, as text, contains a mark."""
    return _MARK in identity
