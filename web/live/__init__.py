"""The live answer in the browser: the component that Streamlit mounts, and the JavaScript behind it.

`component` draws it from the page's run, `modules` puts the JavaScript files together. May import `web.state`,
`web.asgi` and `shared.words`; how the rest of the page is drawn is in `web/pages/`.
"""
