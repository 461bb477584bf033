"""Combining tickets into a stronger one: any module, any data, any metric."""
