"""The page's shell: the document that a browser gets at `/`, before Streamlit runs in it.

Here are the document, its stylesheet, the skeleton shown until Streamlit has drawn the page, and the list of
Streamlit's files that a visit loads. Only this package knows how Streamlit builds its frontend. The routes are in
`web/api/front.py`, the live answer's own modules in `web/live/`. May import `web.live`, `web.asgi` and `shared`.
"""
