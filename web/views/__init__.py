"""What stands on the page: the sidebar, the messages, the composer, the empty page, and the sentences of errors."""
