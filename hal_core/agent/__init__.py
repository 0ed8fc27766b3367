"""The node's side of HAL: the agent (trio), and in launcher/ the small part that may run as root.

Bare metal, pilots and cloud nodes all run it. It imports models and wire; never the kernel, the client or a plugin.
"""
