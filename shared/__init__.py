"""Code that web and workers share. Imports neither side, nor Streamlit, nor a vendor's SDK."""
