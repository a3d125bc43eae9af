/*
Whether Streamlit's own connection is there. Its English sign for that is not shown; the thin bar says it (live.js).
Not here: the event stream's connection (stream.js).
*/
const AWAY_AFTER_MS = 1000; // shorter breaks are not worth a word
const SETTLED_WITHIN_MS = 10000; // a page that is not drawn by then is as good as it gets

export class Connection {
  /* `changed()` when it is worth a word. `back(mark)` when it is there again: another server knows nothing of this page, and drops a
  question, until it has drawn it once. */
  constructor(changed, back) {
    this.changed = changed;
    this.back = back;
    this.isAway = false; // for so long that it is worth a word
    this.mark = "";
  }

  get isDown() {
    const state = document.querySelector("[data-testid='stApp']")?.dataset.testConnectionState;
    return Boolean(state) && state !== "CONNECTED";
  }

  /* No question can be sent now. */
  get isBroken() {
    return this.isDown || Boolean(this.mark);
  }

  /* At every change of the page. */
  look() {
    if (this.isDown) {
      this.mark = "";
      clearTimeout(this.settling);
      this.leaving ??= setTimeout(() => { this.isAway = true; this.changed(); }, AWAY_AFTER_MS);
    } else if (this.leaving && !this.mark) {
      this.mark = `back ${Date.now()}`;
      this.settling = setTimeout(() => this.settle(), SETTLED_WITHIN_MS);
      this.back(this.mark);
    }
  }

  /* The page as a server has drawn it: a new one, or the old one that was asked to. */
  drawn({ session, back }) {
    if (this.mark && (back === this.mark || session !== this.session)) this.settle();
    this.session = session;
  }

  settle() {
    this.close();
    this.mark = "";
    this.leaving = null;
    this.isAway = false;
    this.changed();
  }

  close() {
    clearTimeout(this.leaving);
    clearTimeout(this.settling);
  }
}
