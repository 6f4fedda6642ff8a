"""The controller: documents in, signed heads out, states followed into views. It keeps nothing of its own."""
