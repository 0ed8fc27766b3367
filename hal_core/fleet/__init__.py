"""What cloud providers have in common: from blocking calls of somebody's API to a plane that loses and doubles nothing.

A plugin writes `Machines` (list, create, destroy: each one call) and hands it to a `Fleet`, which is its CloudProvider.
"""
