"""The contract of methods as a test, for methods of others: `check_method(MyMethod)`."""

from selfwise.testing.contract import check_method

__all__ = ["check_method"]
