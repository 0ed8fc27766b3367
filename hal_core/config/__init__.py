"""The configuration: one YAML file, read strictly, with every error at its line; or a description of this machine.

`reading.parse_configuration` is pure; `reading.read_configuration` and `machine.read_machine_facts` are the thin shells
that touch the disk. The schema classes are the one source of what can be written: defaults, help, JSON Schema.
"""
