/*
The composer's draft: what is typed and not sent yet survives a reload. Not here: sending it (web/views/composer.py).
*/
export const COMPOSER = "[data-testid='stChatInputTextArea']";

/* Where a keyboard is at hand the page begins with typing; elsewhere it would only throw up the screen's keyboard. */
export function focusComposer(tries = 20) {
  if (!matchMedia("(hover: hover)").matches || document.activeElement !== document.body) return;
  const box = document.querySelector(COMPOSER);
  if (box) box.focus({ preventScroll: true });
  else if (tries) setTimeout(() => focusComposer(tries - 1), 100);
}

/* As if typed: React listens to the event, and reads through the element's own setter. */
function type(box, text) {
  Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, text);
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

export class Draft {
  constructor() {
    this.typed = (event) => {
      if (!event.target.matches?.(COMPOSER) || !this.key) return;
      if (event.target.value) sessionStorage.setItem(this.key, event.target.value);
      else sessionStorage.removeItem(this.key);
    };
    document.addEventListener("input", this.typed);
    this.sent = setInterval(() => this.forgetWhenSent(), 1000);
  }

  /* Each conversation has its own draft; going to another one changes what stands in the composer. */
  keepFor(conversationId) {
    const key = conversationId ? `naru:draft:${conversationId}` : "";
    if (key === this.key) return;
    const box = document.querySelector(COMPOSER);
    const hadOne = Boolean(this.key);
    this.key = ""; // so that clearing the box does not forget the draft of the conversation that was left
    if (hadOne && box?.value) type(box, "");
    this.key = key;
    const kept = key && sessionStorage.getItem(key);
    if (kept) this.restore(kept, 20);
  }

  restore(text, tries) {
    const box = document.querySelector(COMPOSER);
    if (!box && tries) { setTimeout(() => this.restore(text, tries - 1), 100); return; }
    if (!box || box.value) return;
    type(box, text);
  }

  forgetWhenSent() {
    const box = document.querySelector(COMPOSER);
    if (box && !box.value && this.key) sessionStorage.removeItem(this.key);
  }

  close() {
    clearInterval(this.sent);
    document.removeEventListener("input", this.typed);
  }
}
