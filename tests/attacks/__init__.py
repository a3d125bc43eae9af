"""Attacks on the page, on loopback only and bounded in number and time: `./naru test attacks`.

wire      WebSocket frames and Streamlit's messages, built by hand
attacker  a process that attacks by a `Plan`
person    an honest person during the attack, and the latency of each action
catalogue the attacks
run       one attack, the person's latencies before, during and after it, and web's memory
"""
