"""Code that web and workers share. Imports neither of them, nor Streamlit, nor a vendor's SDK."""
