"""What goes into the images beside the sources: their locks, their health check."""
