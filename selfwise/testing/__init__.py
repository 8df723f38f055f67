"""The contract of methods as a test, also for methods outside the package: `check_method`."""

from selfwise.testing.contract import check_method

__all__ = ["check_method"]
