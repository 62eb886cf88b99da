"""Configuration: `irmsia.settings.tree.Settings`, one frozen tree, built once in `irmsia.app` and passed down.

`irmsia.settings.limits` stands apart because decoder children need the limits and not the machinery that reads them.
"""
