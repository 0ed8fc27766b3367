"""Strict reading of what people write: text in, model values out, or a list of problems.

Everything here is pure. It never guesses: a text that could mean two things is refused, and the error says what was
given and what would work. `request.parse_job` is the way in for jobs; the other modules each read one kind of text.
This package must not know the state of the cluster beyond the nodes and partitions that are declared.
"""
