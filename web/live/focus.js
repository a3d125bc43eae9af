/*
Keep the keyboard focus where the person types next. When Streamlit removes a clicked button, the focus falls to the body,
where typed letters are lost. composer.js handles the composer's keys.
*/
export const COMPOSER = "[data-testid='stChatInputTextArea']";
export const STOP = ".naru-stop, .naru-stop-here"; // at the end of the text, and in the composer
export const SEND = "[data-testid='stChatInputSubmitButton']";
const OPEN_OVERLAY = "dialog[open], [role='dialog'], [role='menu'], [role='listbox'], [data-testid='stPopoverBody']";
const PANEL = "[data-testid='stPopoverBody']";
const TYPING = "input, textarea, select, [contenteditable]";
// After a click on these, most of which disappear, the person types next.
const LEADS_TO_TYPING = ".st-key-first-questions button, .st-key-again button, .st-key-way-out button, a[data-naru-link]";

const hasKeyboard = () => matchMedia("(hover: hover)").matches;

/* On touch screens, focus would only open the on-screen keyboard. */
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
    this.typed = (event) => {
      // Streamlit sends a field's text when it loses the focus. Escape removes the field first, with its text.
      if (event.key === "Escape" && event.target.closest?.(PANEL)) event.target.blur();
      this.typeInComposer(event);
    };
    document.addEventListener("focusin", this.focused);
    document.addEventListener("click", this.clicked);
    document.addEventListener("keydown", this.typed, { capture: true });
  }

  /* Called at every change of the page: restore a focus that fell to the body. A click on the background does not count. */
  look() {
    if (document.activeElement !== document.body || isOverlayOpen()) return;
    const isLost = this.last ? !this.last.checkVisibility() : true;
    if (isLost && focusComposer()) this.last = document.activeElement;
  }

  /* A letter typed outside any field begins a question. Streamlit would read "r" as "run again". */
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
