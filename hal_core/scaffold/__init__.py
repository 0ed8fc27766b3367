"""What `hal plugin new` begins with: one small, complete plugin for each plane. They keep the contracts as they stand.

`example` and `Example` become the new plugin's name. Each is read as a text, and is a module so that what checks HAL
checks these too.
"""
