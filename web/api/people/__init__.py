"""The pages around an account: plain forms without scripts, so that they work before and without Streamlit.

    sign_in    GET, POST /sign-in, POST /sign-out
    sign_up    GET, POST /sign-up        an invitation, or open
    password   GET, POST /new-password   behind a one-time link
    account    GET /account, POST /account/…   password, devices
    openid     GET /openid/begin, /openid/callback, POST /openid/logout   company sign-in
    record     GET /audit, /audit/export   the record of events, for auditors and administrators
    guest      GET, POST /guest-chats    take over the chats of the time before the sign-in
    forms      read a form; ours come from our own site only
    pages      the HTML of the forms
    passwords  hash, check, judge
    devices    which browsers have signed in to an account before
    signing    begin and end a session, with its cookies

With NARU_AUTH=guest every one of them leads to the chat.
"""
