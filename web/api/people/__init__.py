"""The pages around an account: plain forms without scripts, so that they work before and without Streamlit.

    sign_in    GET, POST /sign-in, POST /sign-out
    sign_up    GET, POST /sign-up        an invitation, or open
    password   GET, POST /new-password   behind a one-time link
    forgotten  GET, POST /forgotten      a mail with such a link
    account    GET /account, POST /account/…   password, devices
    openid     GET /openid/begin, /openid/callback, POST /openid/logout   company sign-in
    record     GET /audit, /audit/export   the record of events, for auditors and administrators
    second_step  GET, POST /sign-in/code, /sign-in/enrol   a code after the password
    factor     GET /account/factor, POST /account/factor/…   one's own second factor
    guest      GET, POST /guest-chats    take over the chats of the time before the sign-in
    guest_link   GET, POST /keep, /kept       a guest's link to their chats, for another browser
    forms      read a form; ours come from our own site only
    pages      the HTML of the forms
    passwords  hash, check, judge
    devices    which browsers have signed in to an account before
    admission  after the right password: a session, or first the second step
    attempts   check passwords and codes, within the allowances
    factor_pages   the HTML of a second factor
    signing    begin and end a session, with its cookies

With NARU_AUTH=guest all but `guest_link` lead to the chat.
"""
