/*
The keyboard's place: the focus is where one types next, and never on nothing. Streamlit takes a clicked button away together with
the focus, which then falls to the page's body, where typed letters are lost.
Not here: what the composer does with a key (composer.js).
*/
export const COMPOSER = "[data-testid='stChatInputTextArea']";
export const STOP = ".naru-stop, .naru-stop-here"; // at the end of the text, and in the composer
export const SEND = "[data-testid='stChatInputSubmitButton']";
const OPEN_OVERLAY = "dialog[open], [role='dialog'], [role='menu'], [role='listbox'], [data-testid='stPopoverBody']";
const TYPING = "input, textarea, select, [contenteditable]";
// A click on these is followed by typing: most of them are gone a moment later.
const LEADS_TO_TYPING = ".st-key-first-questions button, .st-key-again button, .st-key-way-out button, a[data-naru-link]";

const hasKeyboard = () => matchMedia("(hover: hover)").matches;

/* Elsewhere the focus would only throw up the screen's keyboard. */
export function focusComposer() {
  const box = hasKeyboard() && document.querySelector(COMPOSER);
  if (box) box.focus({ preventScroll: true });
  return Boolean(box);
}

export const isOverlayOpen = () => Boolean(document.querySelector(OPEN_OVERLAY));

export class Focus {
  constructor() {
    this.last = null;
    this.focused = ({ target }) => { this.last = target; };
    this.clicked = (event) => {
      if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
      if (event.target.closest?.(LEADS_TO_TYPING)) focusComposer();
    };
    this.typed = (event) => this.typeInComposer(event);
    document.addEventListener("focusin", this.focused);
    document.addEventListener("click", this.clicked);
    document.addEventListener("keydown", this.typed, { capture: true });
  }

  /* At every change of the page: whoever has lost the focus to nothing gets it back. A click beside everything is no such loss. */
  look() {
    if (document.activeElement !== document.body || isOverlayOpen()) return;
    const isLost = this.last ? !this.last.checkVisibility() : true;
    if (isLost && focusComposer()) this.last = document.activeElement;
  }

  /* A letter that nobody else takes begins a question. Streamlit would take "r" for "run again". */
  typeInComposer(event) {
    if ([...event.key].length !== 1 || event.key === " " || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest?.(TYPING) || isOverlayOpen()) return;
    if (focusComposer()) event.stopImmediatePropagation();
  }

  close() {
    document.removeEventListener("focusin", this.focused);
    document.removeEventListener("click", this.clicked);
    document.removeEventListener("keydown", this.typed, { capture: true });
  }
}
