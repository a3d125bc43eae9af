/*
The composer's rules: what Enter, Esc and the button do, and why a question is not sent now. A question that cannot be sent stays in the
box, with a quiet hint. Not here: the draft (draft.js), what becomes of a question that was sent (sent.js).
*/
import { COMPOSER, SEND, STOP, isOverlayOpen } from "./focus.js";

const CARD = ".st-key-first-questions button";
const COUNTED_FROM = 0.9; // of the longest question: then its length is shown
const NOTICE = ".st-key-above-composer .naru-notice";

const part = (name) => document.querySelector(`.st-key-composer-side .naru-${name}`);

/* A keyboard on the screen has no Shift+Enter. */
const isOnScreenKeyboard = () => matchMedia("(pointer: coarse)").matches;
const isComposing = (event) => event.isComposing || event.keyCode === 229; // Safari ends the composition before the key

function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

export class Composer {
  /* `live` has say(key, values), whyNot() -> key of a hint or "", stop() -> whether there was something to stop, draft, maxCharacters. */
  constructor(live) {
    this.live = live;
    this.hinted = "";
    this.listeners = [
      ["keydown", (event) => this.pressed(event)],
      ["click", (event) => this.clicked(event)],
      ["input", (event) => event.isTrusted && event.target.matches?.(COMPOSER) && this.typed()],
      ["paste", (event) => event.target.matches?.(COMPOSER) && this.refuseFiles(event.clipboardData)],
      ["drop", (event) => this.refuseFiles(event.dataTransfer)],
    ];
    for (const [kind, listener] of this.listeners) document.addEventListener(kind, listener, { capture: true });
  }

  get box() {
    return document.querySelector(COMPOSER);
  }

  pressed(event) {
    if (isComposing(event)) {
      if (event.key === "Enter" && event.target.matches?.(COMPOSER)) event.stopImmediatePropagation(); // Streamlit would send it
      return;
    }
    if (event.key === "Escape") {
      if (!event.defaultPrevented && !isOverlayOpen() && this.live.stop()) event.preventDefault();
      return;
    }
    if (event.key !== "Enter" || event.shiftKey || event.altKey || !event.target.matches?.(COMPOSER)) return;
    event.stopImmediatePropagation(); // on a phone too it would send
    if (isOnScreenKeyboard() && !event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    if (this.mayLeave()) document.querySelector(SEND)?.click();
  }

  clicked(event) {
    const { target } = event;
    if (target.closest?.(STOP)) { this.live.stop(); return; }
    const card = target.closest?.(CARD);
    if (card) this.live.draft.keepAsked(card.querySelector("p")?.lastChild?.textContent?.trim() ?? "");
    if (!target.closest?.(SEND)) return;
    if (this.mayLeave()) { this.live.draft.keepSent(); return; }
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  /* Whether the question in the box is sent now. */
  mayLeave() {
    const text = this.box?.value ?? "";
    if (!text.trim() || this.live.draft.waitsForArrival()) return false;
    const why = this.isTooLong(text) ? "too_long" : this.live.whyNot();
    this.hint(why);
    return !why;
  }

  isTooLong(text) {
    return text.length > this.live.maxCharacters && [...text.trim()].length > this.live.maxCharacters; // the server counts code points
  }

  /* Said until the reason is gone or something is typed. */
  hint(key) {
    this.hinted = key;
    this.look();
  }

  /* By the person, not by a text that is given back. */
  typed() {
    this.hinted = "";
    for (const notice of document.querySelectorAll(NOTICE)) notice.hidden = true; // read, and answered by typing
    this.look();
  }

  refuseFiles(transfer) {
    if (!transfer?.types.includes("Files") || transfer.types.includes("text/plain")) return;
    this.hint("no_files");
  }

  /* At every change of the page. */
  look() {
    const box = this.box;
    if (!box) return;
    if (box.disabled) box.disabled = false; // Streamlit closes it while its server is away: one may go on typing
    if (box.enterKeyHint !== "enter" && isOnScreenKeyboard()) box.enterKeyHint = "enter";
    const length = box.value.length > COUNTED_FROM * this.live.maxCharacters ? [...box.value.trim()].length : 0;
    const isOver = length > this.live.maxCharacters;
    const isCounted = length > COUNTED_FROM * this.live.maxCharacters;
    const number = (value) => value.toLocaleString("en-US");
    setText(part("count"), isCounted ? this.live.say("count", { n: number(length), limit: number(this.live.maxCharacters) }) : "");
    part("count")?.classList.toggle("naru-over-limit", isOver);
    const isOld = ["running", "sending", "away", "away_link"].includes(this.hinted) && !this.hinted.startsWith(this.live.whyNot() || "-");
    if (isOld) this.hinted = "";
    setText(part("hint"), this.hinted ? this.live.say(`hint_${this.hinted}`) : "");
  }

  close() {
    for (const [kind, listener] of this.listeners) document.removeEventListener(kind, listener, { capture: true });
  }
}
