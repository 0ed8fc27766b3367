"""The smallest useful configuration file, which tests change in one place to see what happens."""

SMALL = """\
nodes:
  - names: n[1-2]
    cpus: 4
    memory: 8G
partitions:
  - name: main
"""
