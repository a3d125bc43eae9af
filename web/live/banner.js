/*
The banner: what administrators want everybody to read (web/api/banner.py). It is asked for while the page is visible, and
its text is set as text. Closing it lasts until the next one.
*/
const BANNER_MS = 5000;
const CLOSED = "naru:banner";

export class Banner {
  constructor() {
    this.version = null;
    this.look();
    setInterval(() => this.look(), BANNER_MS);
    document.addEventListener("visibilitychange", () => this.look());
  }

  async look() {
    const connection = document.querySelector("[data-testid='stApp']")?.dataset.testConnectionState;
    if (document.visibilityState !== "visible" || (connection && connection !== "CONNECTED")) return;
    try {
      const answer = await fetch("./api/banner");
      if (answer.ok) this.show(await answer.json());
    } catch {
      // The next look may find the server again.
    }
  }

  show({ version, text, label, close }) {
    if (version === this.version) return;
    this.hide();
    if (!version || this.closed() === version) return;
    this.version = version;
    this.bar = document.createElement("section");
    this.bar.id = "naru-banner";
    this.bar.ariaLabel = label;
    const words = this.bar.appendChild(document.createElement("p"));
    words.role = "status";
    const button = this.bar.appendChild(document.createElement("button"));
    button.type = "button";
    button.ariaLabel = close;
    button.textContent = "×";
    button.addEventListener("click", () => this.close());
    document.body.prepend(this.bar);
    words.textContent = text; // in the page first, so that it is read out
    this.sizes = new ResizeObserver(() => document.documentElement.style.setProperty("--naru-banner", `${this.bar.offsetHeight}px`));
    this.sizes.observe(this.bar);
  }

  hide() {
    this.version = null;
    this.sizes?.disconnect();
    this.bar?.remove();
    document.documentElement.style.removeProperty("--naru-banner");
  }

  close() {
    try {
      localStorage.setItem(CLOSED, this.version);
    } catch {
      // Closed for this page only: the browser blocks storage.
    }
    const { version } = this;
    this.hide();
    this.version = version;
  }

  closed() {
    try {
      return localStorage.getItem(CLOSED);
    } catch {
      return null;
    }
  }
}
