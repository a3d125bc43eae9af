"""What web and workers both stand on. No Streamlit, no vendor SDK, nothing of either side."""
