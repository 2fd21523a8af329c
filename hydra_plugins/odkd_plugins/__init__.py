"""What Hydra finds by itself: odkd's sweeper and launchers. Hydra takes plugins from `hydra_plugins` alone."""
