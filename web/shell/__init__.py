"""The page's shell: the document that a browser gets at `/`, before Streamlit runs in it.

The document, its stylesheet, the skeleton that is shown until Streamlit has drawn the page, and which of Streamlit's
files a first visit loads. All that relies on how Streamlit builds its frontend is in here. The routes that send it are
in `web/routes/front.py`; what a running answer needs is in `web/live/`.
"""
