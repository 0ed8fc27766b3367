"""Entry point of the spawner, run by path under `python -I -S`. Makes this folder importable by itself."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Appended last, so that nothing here can hide a module of the standard library.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    from launcher.spawner import main  # type: ignore[import-not-found]

    main(sys.argv[1:])
