/*
The composer: what Enter, Esc and the button do, and whether a question can be sent now. A question that cannot be sent stays
in the box, with a hint. draft.js keeps the draft, sent.js tracks sent questions.
*/
import { COMPOSER, SEND, STOP, isOverlayOpen } from "./focus.js";

const CARD = ".st-key-first-questions button";
const COUNTED_FROM = 0.9; // show the length from this share of the limit
const NOTICE = ".st-key-above-composer .naru-notice";

const part = (name) => document.querySelector(`.st-key-composer-side .naru-${name}`);

/* On-screen keyboards have no Shift+Enter. */
const isOnScreenKeyboard = () => matchMedia("(pointer: coarse)").matches;
const isComposing = (event) => event.isComposing || event.keyCode === 229; // Safari ends the composition before the keydown event

function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

export class Composer {
  /* `live` has say(key, values), whyNot() -> key of a hint or "", stop() -> whether anything was running, draft, maxCharacters. */
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
      if (event.key === "Enter" && event.target.matches?.(COMPOSER)) event.stopImmediatePropagation(); // otherwise Streamlit would send it
      return;
    }
    if (event.key === "Escape") {
      if (!event.defaultPrevented && !isOverlayOpen() && this.live.stop()) event.preventDefault();
      return;
    }
    if (event.key !== "Enter" || event.shiftKey || event.altKey || !event.target.matches?.(COMPOSER)) return;
    event.stopImmediatePropagation(); // Streamlit would send it on phones, too
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

  /* Whether the question in the box can be sent now; shows a hint otherwise. */
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

  /* Show a hint until its reason is gone or the person types. */
  hint(key) {
    this.hinted = key;
    this.look();
  }

  /* Called when the person types, but not when text is restored. */
  typed() {
    this.hinted = "";
    for (const notice of document.querySelectorAll(NOTICE)) notice.hidden = true; // the person has read it and moved on
    this.look();
  }

  refuseFiles(transfer) {
    if (!transfer?.types.includes("Files") || transfer.types.includes("text/plain")) return;
    this.hint("no_files");
  }

  /* Called at every change of the page. */
  look() {
    const box = this.box;
    if (!box) return;
    if (box.disabled) box.disabled = false; // Streamlit disables it while its server is away; let the person keep typing
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
