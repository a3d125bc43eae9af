/*
The composer's draft: what is typed and not sent yet survives a reload, and belongs to the conversation that the person sees or has
just chosen. Not here: the rules of sending it (composer.js), what becomes of it then (sent.js).
*/
import { COMPOSER, SEND } from "./focus.js";
import { Sent } from "./sent.js";

const ARRIVED_WITHIN_MS = 5000; // else the page is where it was: the server did not follow

/* As if typed: React listens to the event, and reads through the element's own setter. */
function type(box, text) {
  Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, text);
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

const NEW_KEY = "naru:draft:new"; // of every conversation that has no question yet: its id may be another one after a reload
const keyOf = (conversationId) => (conversationId ? `naru:draft:${conversationId}` : NEW_KEY);

export class Draft {
  /* `isAway()` says whether the server is. */
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
    this.forget = () => this.forgetWhenSent(); // nobody says when Streamlit has emptied the box
    window.addEventListener("pagehide", this.forget);
    this.ticker = setInterval(() => { this.forgetWhenSent(); this.sent.lookAfter(isAway()); }, 1000);
  }

  /* The person has chosen another conversation, a new one without an id: from now on what is typed is typed there. */
  leaveFor(conversationId) {
    const key = keyOf(conversationId);
    if (key === this.leaving) { this.stay(); return; }
    if (!this.key || key === this.key) return;
    this.leaving = this.key;
    this.target = conversationId;
    this.key = ""; // so that clearing the box does not forget the draft of the conversation that is left
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

  /* What is sent while the page is on its way to another conversation waits until it is there. */
  waitsForArrival() {
    if (this.leaving) this.isSendWaiting = true;
    return Boolean(this.leaving);
  }

  /* The page shows this conversation: {conversation_id, exists, gone}, `gone` being the one that it cannot show. */
  keepFor(shown) {
    const key = keyOf(shown.exists ? shown.conversation_id : "");
    const isBorn = shown.exists && this.key === NEW_KEY && this.shown?.conversation_id === shown.conversation_id;
    this.shown = shown;
    if (isBorn) this.moveFrom(NEW_KEY, key);
    if (shown.gone) this.moveFrom(keyOf(shown.gone), key); // nobody will come back to it
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

  /* Before Streamlit has it: what is known of the question must be from now, not from when the box is found empty. */
  keepSent() {
    this.about = this.sent.about();
    setTimeout(() => this.forgetWhenSent());
  }

  /* One of the page's own questions, by a click. */
  keepAsked(text) {
    if (text) this.sent.keep(this.sent.about(), text);
  }

  /* An emptied box is no sign that anybody has the question: from here on it is kept as one that was sent. */
  forgetWhenSent() {
    const box = document.querySelector(COMPOSER);
    if (!box || box.value || !this.key || this.isRestoring) return;
    const text = sessionStorage.getItem(this.key);
    if (text && this.about) this.sent.keep(this.about, text);
    this.about = null;
    sessionStorage.removeItem(this.key);
  }

  /* Nobody has taken it. What was typed since then stays, below it. */
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
