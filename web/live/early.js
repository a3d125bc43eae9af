/*
Bridge the first half second of a reload during an answer: open the event stream before Streamlit starts, and show the text in
its old place until live.js takes over. Runs in the page's head (web/api/front.py), and passes the stream on as
`window.naruEarly`. stream.js has the protocol, markdown.js the Markdown.
*/
import { GrowingAnswer } from "./markdown.js";
import { AnswerStream } from "./stream.js";

const PLACE = "naru:place"; // the answer's position when the page was left, stored by live.js
const PATIENCE_MS = 15000; // after this long, no live answer will take over

class Early {
  constructor(conversationId) {
    this.conversationId = conversationId;
    this.place = JSON.parse(sessionStorage.getItem(PLACE) ?? "null");
    this.text = "";
    if (this.fits()) document.body.style.background = this.place.ground; // avoids a white flash in the dark theme
    this.stream = new AnswerStream(conversationId, {
      text: ({ reset, text }) => { this.text = reset ? text : this.text + text; this.paintSoon(); },
      changed: () => {},
      ended: () => {},
    });
    this.impatience = setTimeout(() => { this.stream.close(); this.clear(); }, PATIENCE_MS);
  }

  fits() {
    const place = this.place;
    return place?.conversationId === this.conversationId && place.width === innerWidth && place.height === innerHeight;
  }

  paintSoon() {
    if (this.frame || !this.fits()) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.text) return;
      this.answer ??= this.makeRoom();
      this.answer.replace(this.text);
      this.answer.paint();
    });
  }

  /* Cover the column down to the composer, with the last line where it was before. */
  makeRoom() {
    const { left, composerTop, bottom, textLeft, textWidth, ground, ink, font, scheme } = this.place;
    this.room = document.createElement("div");
    this.room.className = "naru-early";
    this.room.setAttribute("aria-hidden", "true"); // the live answer announces it
    this.room.style.cssText = `position:fixed;z-index:999999;inset:0 0 auto ${left}px;height:${composerTop}px;overflow:hidden;background:${ground};color:${ink};color-scheme:${scheme};font-family:${font}`;
    const text = document.createElement("div");
    text.className = "naru-answer naru-growing";
    text.style.cssText = `position:absolute;box-sizing:border-box;left:${textLeft - left}px;width:${textWidth}px;bottom:${composerTop - bottom}px`;
    this.room.append(text);
    document.body.append(this.room);
    return new GrowingAnswer(text);
  }

  /* Called by live.js, which takes over the stream and the text received so far. */
  take(conversationId, listener) {
    clearTimeout(this.impatience);
    if (window.naruEarly === this) delete window.naruEarly;
    if (conversationId !== this.conversationId || this.stream.closed) { this.stream.close(); this.clear(); return null; }
    this.stream.listener = listener;
    listener.text({ reset: true, text: this.text });
    return this.stream;
  }

  clear() {
    cancelAnimationFrame(this.frame);
    this.room?.remove();
    document.body.style.background = "";
  }
}

const asked = new URLSearchParams(location.search).get("c");
if (asked) window.naruEarly = new Early(asked);
