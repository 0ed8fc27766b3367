"""HAL, a hybrid adaptive learning scheduler. This module is the SDK: the names that a plugin may import.

It is lazy: importing it costs next to nothing and pulls in nothing; a name is loaded when it is first used.
"""

__version__ = "0.1.0"
