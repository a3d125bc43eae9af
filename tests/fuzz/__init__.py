"""Both renderers of an answer side by side: honest texts must look the same, hostile ones must do nothing."""
