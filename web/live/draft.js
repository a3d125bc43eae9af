/*
The composer's draft: what is typed and not sent yet survives a reload, and belongs to the conversation that the person sees or has
just chosen. Not here: sending it (web/views/composer.py), what becomes of it then (sent.js).
*/
import { Sent } from "./sent.js";

export const COMPOSER = "[data-testid='stChatInputTextArea']";
const SEND = "[data-testid='stChatInputSubmitButton']";

/* Where a keyboard is at hand the page begins with typing; elsewhere it would only throw up the screen's keyboard. */
export function focusComposer(tries = 20) {
  if (!matchMedia("(hover: hover)").matches || document.activeElement !== document.body) return;
  const box = document.querySelector(COMPOSER);
  if (box) box.focus({ preventScroll: true });
  else if (tries) setTimeout(() => focusComposer(tries - 1), 100);
}

const ARRIVED_WITHIN_MS = 5000; // else the page is where it was: the server did not follow

/* As if typed: React listens to the event, and reads through the element's own setter. */
function type(box, text) {
  Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, text);
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

const keyOf = (conversationId) => (conversationId ? `naru:draft:${conversationId}` : "");

export class Draft {
  constructor() {
    this.typed = (event) => {
      if (!event.target.matches?.(COMPOSER) || !this.key) return;
      if (event.target.value) sessionStorage.setItem(this.key, event.target.value);
      else sessionStorage.removeItem(this.key);
    };
    // What is sent while the page is on its way to another conversation waits until it is there.
    this.held = (event) => {
      this.sending(event);
      if (!this.leaving || event.key !== "Enter" || event.shiftKey || event.isComposing || !event.target.matches?.(COMPOSER)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      this.isSendWaiting = true;
    };
    this.clicked = (event) => event.target.closest?.(SEND) && this.keepSent();
    document.addEventListener("click", this.clicked, { capture: true });
    this.wentBack = () => this.leaveFor(new URLSearchParams(location.search).get("c"));
    document.addEventListener("input", this.typed);
    document.addEventListener("keydown", this.held, { capture: true });
    window.addEventListener("popstate", this.wentBack);
    this.sent = new Sent((text) => this.giveBack(text));
    this.isAway = () => false;
    this.forget = () => this.forgetWhenSent(); // nobody says when Streamlit has emptied the box
    window.addEventListener("pagehide", this.forget);
    this.ticker = setInterval(() => { this.forgetWhenSent(); this.sent.lookAfter(this.isAway()); }, 1000);
  }

  /* The person has chosen another conversation: from now on what is typed is typed there. */
  leaveFor(conversationId) {
    const key = keyOf(conversationId);
    if (key && key === this.leaving) { this.stay(); return; }
    if (!this.key || key === this.key) return;
    this.leaving = this.key;
    this.key = ""; // so that clearing the box does not forget the draft of the conversation that is left
    const box = document.querySelector(COMPOSER);
    if (box?.value) type(box, "");
    clearTimeout(this.staying);
    this.staying = setTimeout(() => this.stay(), ARRIVED_WITHIN_MS);
  }

  stay() {
    this.leaving = "";
    this.isSendWaiting = false;
    this.keepFor(this.shown);
  }

  /* The page shows this conversation. */
  keepFor(conversationId) {
    const key = keyOf(conversationId);
    this.shown = conversationId;
    if (key === this.key || (key && key === this.leaving)) return;
    if (this.key) this.leaveFor(conversationId);
    clearTimeout(this.staying);
    this.leaving = "";
    this.key = key;
    const typed = document.querySelector(COMPOSER)?.value;
    if (key && typed) sessionStorage.setItem(key, typed);
    else if (key) this.restore(sessionStorage.getItem(key), 20);
    if (this.isSendWaiting) setTimeout(() => document.querySelector(SEND)?.click());
    this.isSendWaiting = false;
  }

  restore(text, tries) {
    const box = document.querySelector(COMPOSER);
    this.isRestoring = Boolean(text && !box && tries);
    if (this.isRestoring) setTimeout(() => this.restore(text, tries - 1), 100);
    else if (text && box && !box.value) type(box, text);
  }

  sending(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && event.target.matches?.(COMPOSER)) this.keepSent();
  }

  /* Before Streamlit has it: what is known of the question must be from now, not from when the box is found empty. */
  keepSent() {
    if (this.leaving || !document.querySelector(COMPOSER)?.value.trim()) return;
    this.about = this.sent.about();
    setTimeout(() => this.forgetWhenSent());
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
    document.removeEventListener("click", this.clicked, { capture: true });
    document.removeEventListener("input", this.typed);
    document.removeEventListener("keydown", this.held, { capture: true });
    window.removeEventListener("popstate", this.wentBack);
    window.removeEventListener("pagehide", this.forget);
  }
}
