"""The contract between agent, controller and operators: messages, documents, subjects, permissions, signatures.

What may enter: pydantic models, builders and parsers, pure functions over them.
What may not: I/O, a clock, chance, a client library, anything that only one side needs.
"""
