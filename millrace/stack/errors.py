"""What the stack raises when it cannot do what was asked."""


class StackError(RuntimeError):
    """The message says what happened and what to do."""
