/*
What was sent and is not known to be accepted: kept, over a reload too, until the server has said what became of it. Streamlit empties
the box before anybody has the question, and drops it without a word when the server is away.
Not here: the text that is still being typed (draft.js), storing a question (web/views/composer.py).
*/
const SAME_SESSION_MS = 2500; // asked behind the question, on the same connection: the answer is certain
const OTHER_SESSION_MS = 5000; // after a reload an older session may still be storing it
const ASK_AGAIN_AFTER_MS = 12000; // each asking is a run of the page, and begins it anew: let one come to its end

const placeOf = (conversationId) => `naru:sent:${conversationId}`;

export class Sent {
  /* `giveBack(text)` puts it into the composer. */
  constructor(giveBack) {
    this.giveBack = giveBack;
    this.askedAt = -Infinity;
  }

  /* The page as the server has just drawn it: `key` is the next question's, `accepted` the last one's that was stored. */
  update(data, trigger) {
    this.data = data;
    this.trigger = trigger;
    this.askedAt = -Infinity;
    const sent = this.read();
    const { accepted, fate, returned } = data;
    if (returned && returned.id !== this.returnedId) {
      this.returnedId = returned.id;
      this.forget();
      this.giveBack(returned.text);
    } else if (sent && (accepted === sent.key || (fate?.key === sent.key && fate.is_stored))) {
      this.forget();
    } else if (sent && fate?.key === sent.key) {
      this.forget();
      this.giveBack(sent.text);
    }
  }

  read() {
    return this.data?.conversation_id ? JSON.parse(sessionStorage.getItem(placeOf(this.data.conversation_id)) ?? "null") : null;
  }

  forget() {
    sessionStorage.removeItem(placeOf(this.data.conversation_id));
  }

  /* Before Streamlit sends it: the key is another one as soon as the question is accepted. */
  about() {
    return this.data && { conversationId: this.data.conversation_id, key: this.data.key, session: this.data.session, at: Date.now() };
  }

  keep(about, text) {
    if (about?.conversationId) sessionStorage.setItem(placeOf(about.conversationId), JSON.stringify({ ...about, text }));
  }

  /* Every second: nothing was said of it for a while, so the server is asked. */
  lookAfter(isAway) {
    if (isAway) { this.askedAt = -Infinity; return; }
    const sent = this.read();
    if (!sent || performance.now() - this.askedAt < ASK_AGAIN_AFTER_MS) return;
    if (Date.now() - sent.at < (sent.session === this.data.session ? SAME_SESSION_MS : OTHER_SESSION_MS)) return;
    this.askedAt = performance.now();
    this.trigger("unsure", sent.key);
  }
}
