"""Parts of the container images besides the sources: their locks and health check."""
