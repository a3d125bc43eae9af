/*
The composer's draft: what is typed and not sent yet survives a reload. Not here: sending it (web/views/composer.py).
*/
export const COMPOSER = "[data-testid='stChatInputTextArea']";

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

  keepFor(conversationId) {
    const key = conversationId ? `naru:draft:${conversationId}` : "";
    if (key === this.key) return;
    this.key = key;
    const kept = key && sessionStorage.getItem(key);
    if (kept) this.restore(kept, 20);
  }

  restore(text, tries) {
    const box = document.querySelector(COMPOSER);
    if (!box && tries) { setTimeout(() => this.restore(text, tries - 1), 100); return; }
    if (!box || box.value) return;
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, text);
    box.dispatchEvent(new Event("input", { bubbles: true }));
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
