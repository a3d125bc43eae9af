/*
Track Streamlit's own connection. Its English indicator is hidden; the thin bar (live.js) replaces it.
stream.js tracks the event stream's connection.
*/
const AWAY_AFTER_MS = 1000; // shorter interruptions are not shown
const SETTLED_WITHIN_MS = 10000; // a page counts as drawn after this long

export class Connection {
  /* `changed()` is called when `isAway` changes, `back(mark)` when the connection returns: a new server drops questions until it has
  drawn the page once. */
  constructor(changed, back) {
    this.changed = changed;
    this.back = back;
    this.isAway = false; // long enough to tell the person
    this.mark = "";
  }

  get isDown() {
    const state = document.querySelector("[data-testid='stApp']")?.dataset.testConnectionState;
    return Boolean(state) && state !== "CONNECTED";
  }

  /* Whether questions cannot be sent now. */
  get isBroken() {
    return this.isDown || Boolean(this.mark);
  }

  /* Called at every change of the page. */
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

  /* Called when a server has drawn the page, either a new one or the old one on request. */
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
