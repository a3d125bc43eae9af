/*
What was sent and is not known to be accepted: shown as "sending", and kept, over a reload too, until the server has said what became
of it. Streamlit empties the box before anybody has the question, and drops it without a word when the server is away.
Not here: the text that is still being typed (draft.js), storing a question (web/pages/chat/composer.py).
*/
const SAME_SESSION_MS = 2500; // asked behind the question, on the same connection: the answer is certain
const OTHER_SESSION_MS = 5000; // after a reload an older session may still be storing it
const ASK_AGAIN_AFTER_MS = 12000; // each asking is a run of the page, and begins it anew: let one come to its end

const NEW_PLACE = "naru:sent:new"; // of a conversation that has no question yet: its id may be another one after a reload
const placeOf = (conversationId) => `naru:sent:${conversationId}`;
const stored = (place) => JSON.parse(sessionStorage.getItem(place) ?? "null");

/* The last question that the server has drawn. */
function lastQuestion() {
  const last = [...document.querySelectorAll(".naru-question")].at(-1);
  return last ? [...last.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data).join("").trim() : "";
}

export class Sent {
  /* `giveBack(text)` puts it into the composer. */
  constructor(giveBack) {
    this.giveBack = giveBack;
    this.askedAt = -Infinity;
    this.changed = () => {};
  }

  /* The page as the server has just drawn it: `key` is the next question's, `accepted` the last one's that was stored. */
  update(data, trigger) {
    this.data = data;
    this.trigger = trigger;
    this.askedAt = -Infinity;
    const sent = this.read();
    const { accepted, fate, returned } = data;
    if (this.kept && accepted === this.kept.key) sessionStorage.removeItem(this.kept.place); // wherever it has led
    if (returned && returned.id !== this.returnedId) {
      this.returnedId = returned.id;
      this.forget();
      this.giveBack(returned.text);
    } else if (sent && (accepted === sent.key || (fate?.key === sent.key && fate.is_stored))) {
      this.forget();
      if (!sent.exists && sent.conversationId !== data.conversation_id) trigger("opened", sent.conversationId);
    } else if (sent && fate?.key === sent.key) {
      this.forget();
      this.giveBack(sent.text);
    }
  }

  read() {
    const { conversation_id: id, exists, gone } = this.data ?? {};
    if (!id) return null;
    const atNew = stored(NEW_PLACE);
    return stored(placeOf(id)) ?? (gone && stored(placeOf(gone))) ?? (!exists || atNew?.conversationId === id ? atNew : null);
  }

  forget() {
    const sent = this.read();
    const places = [this.data.conversation_id, this.data.gone].map(placeOf);
    if (stored(NEW_PLACE)?.key === sent?.key) places.push(NEW_PLACE);
    for (const place of places) sessionStorage.removeItem(place);
    this.changed();
  }

  /* The text that is on its way and that the server has not drawn yet; "" when there is none. */
  get onItsWay() {
    const sent = this.read();
    if (!sent) return "";
    const last = lastQuestion();
    return last === sent.text.trim() && last !== sent.after ? "" : sent.text;
  }

  /* Before Streamlit sends it: the key is another one as soon as the question is accepted. */
  about() {
    const { conversation_id: conversationId, exists, key, session } = this.data ?? {};
    return this.data && { conversationId, exists, key, session, at: Date.now(), after: lastQuestion() };
  }

  keep(about, text) {
    if (!about?.conversationId) return;
    const place = about.exists ? placeOf(about.conversationId) : NEW_PLACE;
    this.kept = { place, key: about.key };
    sessionStorage.setItem(place, JSON.stringify({ ...about, text }));
    this.changed();
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
