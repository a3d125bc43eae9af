/*
The composer's draft: unsent text survives a reload, and belongs to the conversation that is open or was just chosen.
composer.js has the rules for sending, sent.js tracks sent questions.
*/
import { COMPOSER, SEND } from "./focus.js";
import { Sent } from "./sent.js";

const ARRIVED_WITHIN_MS = 5000; // after this long the server has not followed, and the page stays where it was

/* Simulate typing: React listens for the event, and tracks the element's own setter. */
function type(box, text) {
  Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, text);
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

const NEW_KEY = "naru:draft:new"; // of a conversation without questions, whose id may change at a reload
const keyOf = (conversationId) => (conversationId ? `naru:draft:${conversationId}` : NEW_KEY);

export class Draft {
  /* `isAway()` returns whether the server is away. */
  constructor(isAway) {
    this.typed = (event) => {
      if (!event.target.matches?.(COMPOSER) || !this.key) return;
      if (event.target.value) sessionStorage.setItem(this.key, event.target.value);
      else sessionStorage.removeItem(this.key);
    };
    this.wentBack = () => this.leaveFor(new URLSearchParams(location.search).get("c"));
    document.addEventListener("input", this.typed);
    window.addEventListener("popstate", this.wentBack);
    this.sent = new Sent((text) => this.giveBack(text));
    this.forget = () => this.forgetWhenSent(); // there is no event when Streamlit empties the box
    window.addEventListener("pagehide", this.forget);
    this.ticker = setInterval(() => { this.forgetWhenSent(); this.sent.lookAfter(isAway()); }, 1000);
  }

  /* The person chose another conversation (a new one has no id): from now on, typed text belongs to it. */
  leaveFor(conversationId) {
    const key = keyOf(conversationId);
    if (key === this.leaving) { this.stay(); return; }
    if (!this.key || key === this.key) return;
    this.leaving = this.key;
    this.target = conversationId;
    this.key = ""; // so that clearing the box keeps the draft of the previous conversation
    const box = document.querySelector(COMPOSER);
    if (box?.value) type(box, "");
    clearTimeout(this.staying);
    this.staying = setTimeout(() => this.stay(), ARRIVED_WITHIN_MS);
  }

  stay() {
    this.leaving = this.target = "";
    this.isSendWaiting = false;
    this.keepFor(this.shown);
  }

  /* A question sent while the page changes to another conversation waits until that is open. */
  waitsForArrival() {
    if (this.leaving) this.isSendWaiting = true;
    return Boolean(this.leaving);
  }

  /* The page shows this conversation: {conversation_id, exists, gone}; `gone` is the id that it could not show. */
  keepFor(shown) {
    const key = keyOf(shown.exists ? shown.conversation_id : "");
    const isBorn = shown.exists && this.key === NEW_KEY && this.shown?.conversation_id === shown.conversation_id;
    this.shown = shown;
    if (isBorn) this.moveFrom(NEW_KEY, key);
    if (shown.gone) this.moveFrom(keyOf(shown.gone), key); // it cannot be opened again
    const isHere = Boolean(shown.gone) && shown.gone === this.target;
    if (key === this.key || (key === this.leaving && !isHere)) return;
    if (this.key) this.leaveFor(shown.exists ? shown.conversation_id : "");
    clearTimeout(this.staying);
    this.leaving = this.target = "";
    this.key = key;
    const typed = document.querySelector(COMPOSER)?.value;
    if (typed) sessionStorage.setItem(key, typed);
    else this.restore(sessionStorage.getItem(key), 20);
    if (this.isSendWaiting) setTimeout(() => document.querySelector(SEND)?.click());
    this.isSendWaiting = false;
  }

  moveFrom(gone, key) {
    const text = sessionStorage.getItem(gone);
    if (text && !sessionStorage.getItem(key)) sessionStorage.setItem(key, text);
    sessionStorage.removeItem(gone);
    if (this.key === gone) this.key = key;
  }

  restore(text, tries) {
    const box = document.querySelector(COMPOSER);
    this.isRestoring = Boolean(text && !box && tries);
    if (this.isRestoring) setTimeout(() => this.restore(text, tries - 1), 100);
    else if (text && box && !box.value) type(box, text);
  }

  /* Called before Streamlit gets the question, because its key must be read now, not when the box is found empty. */
  keepSent() {
    this.about = this.sent.about();
    setTimeout(() => this.forgetWhenSent());
  }

  /* Called when one of the suggested questions is clicked. */
  keepAsked(text) {
    if (text) this.sent.keep(this.sent.about(), text);
  }

  /* An empty box does not prove that the server has the question, so it is kept as sent (sent.js). */
  forgetWhenSent() {
    const box = document.querySelector(COMPOSER);
    if (!box || box.value || !this.key || this.isRestoring) return;
    const text = sessionStorage.getItem(this.key);
    if (text && this.about) this.sent.keep(this.about, text);
    this.about = null;
    sessionStorage.removeItem(this.key);
  }

  /* Restore a question that was not accepted, above any text typed since. */
  giveBack(text, tries = 20) {
    const box = document.querySelector(COMPOSER);
    if (!box) { if (tries) setTimeout(() => this.giveBack(text, tries - 1), 100); return; }
    if (box.value !== text) type(box, box.value ? `${text}\n${box.value}` : text);
  }

  close() {
    clearInterval(this.ticker);
    clearTimeout(this.staying);
    document.removeEventListener("input", this.typed);
    window.removeEventListener("popstate", this.wentBack);
    window.removeEventListener("pagehide", this.forget);
  }
}
