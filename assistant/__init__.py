"""Domain assistant: grounded answers from a company's own documents and FAQ."""

__version__ = "0.1.0"
