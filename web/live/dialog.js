/*
Rename and delete, in the browser's own dialog. Streamlit's dialog closes at the next run of the page, for example when an
answer ends, and loses the typed text. web/views/chat/dialogs.py makes the change.
*/
const ANSWERED_WITHIN_MS = 8000; // after this long, the buttons are enabled again

const seen = new Set(); // module scope, so that it survives a new mount of the component

export class Dialog {
  /* `decide({id, title})` sends the decision to the server. */
  constructor(element, decide) {
    this.element = element;
    this.part = (name) => element.querySelector(`.naru-dialog-${name}`);
    this.part("cancel").addEventListener("click", () => element.close());
    element.addEventListener("close", () => { clearTimeout(this.waiting); this.fill({}); });
    element.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.part("confirm").disabled) return;
      this.part("confirm").disabled = true;
      this.waiting = setTimeout(() => { this.part("confirm").disabled = false; }, ANSWERED_WITHIN_MS);
      decide({ id: this.asked.id, title: this.part("input").value });
    });
  }

  /* `asked` is the dialog requested by the server, `done` the result of the last one. */
  update(asked, done) {
    if (done && done.try !== this.lastTry && done.id === this.asked?.id && this.element.open) this.end(done.error);
    this.lastTry = done?.try;
    if (asked && !seen.has(asked.id)) this.open(asked);
  }

  end(error) {
    clearTimeout(this.waiting);
    this.part("confirm").disabled = false;
    this.part("error").textContent = error;
    this.part("error").hidden = !error;
    if (!error) this.element.close();
  }

  open(asked) {
    seen.add(asked.id);
    this.asked = asked;
    const isRename = asked.kind === "rename";
    this.fill(asked);
    this.part("text").hidden = isRename;
    this.part("field").hidden = !isRename;
    this.part("error").hidden = true;
    this.part("confirm").disabled = false;
    this.part("confirm").classList.toggle("naru-danger", !isRename);
    if (!this.element.open) this.element.showModal(); // restores the focus when it closes
    if (isRename) this.part("input").select();
    else this.part("cancel").focus();
  }

  fill(words) {
    for (const name of ["title", "text", "label", "cancel", "confirm"]) this.part(name).textContent = words[name] ?? "";
    this.part("input").value = words.value ?? "";
  }
}
