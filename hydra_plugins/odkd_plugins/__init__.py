"""odkd's sweepers and launchers for Hydra, which looks for plugins in the package `hydra_plugins` only."""
