"""The local stack: real services on free loopback ports, kept alive by a process supervisor."""

from millrace.stack.parts import PARTS
from millrace.stack.stack import Stack, StackError

__all__ = ["PARTS", "Stack", "StackError"]
