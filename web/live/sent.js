/*
Keep a sent question, also across reloads, until the server confirms or refuses it; it is shown as "sending". Streamlit empties
the box before the server has the question, and drops it silently when the server is away.
draft.js keeps unsent text, web/views/chat/composer.py stores the question.
*/
const SAME_SESSION_MS = 2500; // asked after the question on the same connection, so the answer is reliable
const OTHER_SESSION_MS = 5000; // after a reload, an older session may still be storing it
const ASK_AGAIN_AFTER_MS = 12000; // each query restarts the page's run, so let one finish

const NEW_PLACE = "naru:sent:new"; // of a conversation without questions, whose id may change at a reload
const placeOf = (conversationId) => `naru:sent:${conversationId}`;
const stored = (place) => JSON.parse(sessionStorage.getItem(place) ?? "null");

/* Return the last question drawn by the server. */
function lastQuestion() {
  const last = [...document.querySelectorAll(".naru-question")].at(-1);
  return last ? [...last.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE).map((node) => node.data).join("").trim() : "";
}

export class Sent {
  /* `giveBack(text)` restores the question to the composer. */
  constructor(giveBack) {
    this.giveBack = giveBack;
    this.askedAt = -Infinity;
    this.changed = () => {};
  }

  /* Called when the server has drawn the page: `key` is for the next question, `accepted` is that of the last one stored. */
  update(data, trigger) {
    this.data = data;
    this.trigger = trigger;
    this.askedAt = -Infinity;
    const sent = this.read();
    const { accepted, fate, returned } = data;
    if (this.kept && accepted === this.kept.key) sessionStorage.removeItem(this.kept.place); // in whichever conversation it was
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

  /* The text of the sent question that the server has not drawn yet, or "". */
  get onItsWay() {
    const sent = this.read();
    if (!sent) return "";
    const last = lastQuestion();
    return last === sent.text.trim() && last !== sent.after ? "" : sent.text;
  }

  /* Called before Streamlit sends the question, because the key changes once it is accepted. */
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

  /* Called every second: ask the server about a question that was not confirmed for a while. */
  lookAfter(isAway) {
    if (isAway) { this.askedAt = -Infinity; return; }
    const sent = this.read();
    if (!sent || performance.now() - this.askedAt < ASK_AGAIN_AFTER_MS) return;
    if (Date.now() - sent.at < (sent.session === this.data.session ? SAME_SESSION_MS : OTHER_SESSION_MS)) return;
    this.askedAt = performance.now();
    this.trigger("unsure", sent.key);
  }
}
