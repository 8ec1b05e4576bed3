"""From each schema to the next, one module below `versions` for each step; forward only.

A revision is the schema's version in four digits ("0002"). A step never imports `store.schema`: that says what the
schema is now, a step what it was then.
"""
