"""The live answer in the browser: the component that Streamlit mounts, and its JavaScript.

`component` mounts it during a run of the page, `modules` joins the JavaScript files. The rest of the page is drawn in
`web/views/`. May import `web.state`, `web.asgi` and `shared`.
"""
