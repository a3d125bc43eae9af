/*
Scrolling: the view follows the text only at its end, earlier messages load when the reader reaches the top, and text being
read does not move. live.js has the text itself.
*/
const BOTTOM_SLACK_PX = 48; // within this distance the reader is "at the end"
const TOP_SLACK_PX = 160; // within this distance, fetch earlier messages
const WIDER_WITHIN_MS = 8000; // after this long, earlier messages are no longer expected
const SETTLED_AFTER_MS = 500; // without growth, once the first earlier messages are there
const MOVES = ["wheel", "touchmove", "keydown", "mousedown"]; // events with which a reader moves the view
const MOVED_WITHIN_MS = 1000; // after such an event; a later move is the page's own, when it drops old messages
const HELD_MS = 10000; // a scrollbar may be held for this long; its release fires no event
const QUESTION = ".naru-question";
const EARLIER = ".st-key-earlier button";
const FOLD = ".naru-thought-words";

export class Reading {
  /* `inside` is an element of the column; `pill` is the button back to the end. */
  constructor(inside, pill) {
    this.inside = inside;
    this.pill = pill;
    this.follow = true;
    this.lastTop = 0;
    this.movingUntil = 0;
    this.fromEnd = 0;
    this.toEnd = () => { this.follow = true; this.toBottom(); };
    this.scrolled = () => this.readerMoved();
    this.widening = (event) => {
      if (event.target.closest?.(EARLIER)) this.keepPlace();
      if (event.target.closest?.(FOLD)) this.follow = false; // its reader stays at its first line
    };
    this.moving = (event) => this.readerMoves(event);
    pill.addEventListener("click", this.toEnd);
    document.addEventListener("scroll", this.scrolled, { capture: true, passive: true });
    document.addEventListener("click", this.widening, { capture: true });
    for (const kind of MOVES) document.addEventListener(kind, this.moving, { capture: true, passive: true });
    this.growth = new ResizeObserver(() => this.grown());
    this.growth.observe(this.column());
  }

  scroller() {
    if (this.main?.isConnected) return this.main;
    let node = this.inside.parentElement;
    while (node && !/(auto|scroll)/.test(getComputedStyle(node).overflowY)) node = node.parentElement;
    this.main = node ?? document.scrollingElement;
    return this.main;
  }

  /* The scroller's child that contains everything, and grows with the live text and with Streamlit's elements. */
  column() {
    let node = this.inside;
    while (node.parentElement && node.parentElement !== this.scroller()) node = node.parentElement;
    return node;
  }

  grown() {
    const { left, width } = this.column().getBoundingClientRect();
    this.pill.style.left = `${left + width / 2}px`; // centred on the column, not the window
    if (this.follow) this.toBottom();
    else if (this.fromEnd) this.stay();
  }

  stay() {
    const main = this.scroller();
    main.scrollTop = main.scrollHeight - this.fromEnd;
    if (document.querySelectorAll(QUESTION).length > this.shown) this.endStay(SETTLED_AFTER_MS);
  }

  endStay(afterMs) {
    clearTimeout(this.staying);
    this.staying = setTimeout(() => { this.fromEnd = 0; this.fetchEarlier(); }, afterMs);
  }

  /* Keep the text being read in place when earlier messages appear above it. */
  keepPlace() {
    const main = this.scroller();
    this.follow = false;
    this.fromEnd = main.scrollHeight - main.scrollTop;
    this.shown = document.querySelectorAll(QUESTION).length;
    this.endStay(WIDER_WITHIN_MS);
  }

  readerMoves({ type, target }) {
    if (type === "mousedown" && target !== this.scroller()) return; // only a press on the scrollbar moves the view
    if (type === "keydown" && target.matches?.("input, textarea")) return;
    this.movingUntil = performance.now() + (type === "mousedown" ? HELD_MS : MOVED_WITHIN_MS);
    this.fetchEarlier(); // at the very top there are no scroll events
  }

  readerMoved() {
    const main = this.scroller();
    const isAtEnd = main.scrollHeight - main.scrollTop - main.clientHeight < BOTTOM_SLACK_PX;
    const isMoving = performance.now() < this.movingUntil;
    const isGoingUp = main.scrollTop < this.lastTop && isMoving;
    if (isAtEnd || isGoingUp) this.follow = isAtEnd; // only scrolling up leaves the end
    if (this.fromEnd && isMoving) this.fromEnd = main.scrollHeight - main.scrollTop;
    this.lastTop = main.scrollTop;
    if (this.follow) this.pill.hidden = true;
    if (isGoingUp) this.fetchEarlier();
  }

  /* Click the button, which stays visible for keyboard users. */
  fetchEarlier() {
    if (this.follow || this.fromEnd || this.scroller().scrollTop > TOP_SLACK_PX) return;
    document.querySelector(EARLIER)?.click();
  }

  toBottom() {
    const main = this.scroller();
    main.scrollTop = main.scrollHeight;
    this.pill.hidden = true;
  }

  close() {
    clearTimeout(this.staying);
    this.growth.disconnect();
    document.removeEventListener("scroll", this.scrolled, { capture: true });
    document.removeEventListener("click", this.widening, { capture: true });
    for (const kind of MOVES) document.removeEventListener(kind, this.moving, { capture: true });
  }
}
