"""A Streamlit page that draws texts as the chat draws ended answers. Run by rig.py: `streamlit run sheet.py -- FOLDER`.

The number in the field names the file in FOLDER that holds the texts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import streamlit as st

from web.markdown import to_streamlit

FOLDER = Path(sys.argv[1])

st.set_page_config(layout="centered")
st.html(Path(__file__).parents[2] / "web" / "style.css")
number = st.text_input("batch", key="batch")
if number:
    for index, text in enumerate(json.loads((FOLDER / f"{int(number)}.json").read_text())):
        with st.container(key=f"answer-{index}"):
            st.markdown(to_streamlit(text))
    st.container(key=f"drawn-{int(number)}").text("drawn")
