"""Entities whose contract is not enough: entity -> transform of its valid changes, pure, no I/O."""

from collections.abc import Callable

from pyspark.sql import DataFrame

CONFORM: dict[str, Callable[[DataFrame], DataFrame]] = {}
