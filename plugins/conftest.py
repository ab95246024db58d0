"""What the plugins' tests share with the others: who may run, and which namespaces a root test plays in."""

from tests.conftest import namespace, pytest_collection_modifyitems

__all__ = ["namespace", "pytest_collection_modifyitems"]
