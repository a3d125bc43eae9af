/*
The live answer on the page: the running text, what it is waiting for in words, Stop, and the thin bars.

Streamlit calls the default export again at every change of data; there is one LiveAnswer per mount and it survives them all.
Not here: the protocol (stream.js), Markdown (markdown.js).
*/
import { copyAnswer } from "./copy.js";
import { COMPOSER, Draft, focusComposer } from "./draft.js";
import { Links } from "./links.js";
import { GrowingAnswer } from "./markdown.js";
import { AnswerStream } from "./stream.js";

const BOTTOM_SLACK_PX = 48; // nearer to the end than this is "reading the newest line"
const SECONDS_SHOWN_AFTER = 5;
const NEW = "new";
const WIDER_WITHIN_MS = 4000;
const MOVES = ["wheel", "touchmove", "keydown", "mousedown"]; // by which a reader moves the view
const MOVED_WITHIN_MS = 1000; // of such a move: later the page itself has moved, which drops old messages when new ones come
const HELD_MS = 10000; // that a scrollbar may be held: nobody says when it is let go
const FOREIGN_DIALOG = "body > [data-testid='stDialog']:not(:has([data-testid='stVerticalBlock']))"; // Streamlit's own
const PLACE = "naru:place"; // where the running answer stood when the page was left: for early.js
const SEEN_WITHIN_MS = 700; // the page itself knows of its own question by then
const DRAWN_SHARE = 0.95; // of the live text's height: then Streamlit has drawn the answer
const DRAWN_WITHIN_MS = 1500;
const STOP_WITHIN_MS = 15000; // longer than Postgres may take; then the button is there again
const HEAVY_MS = 50; // of drawing in one frame
const ASK_AGAIN_MS = [4000, 10000, 30000]; // when the page does not take an ended answer over

class LiveAnswer {
  constructor(parent) {
    this.part = (name) => parent.querySelector(`.naru-${name}`);
    this.answer = new GrowingAnswer(this.part("answer"));
    this.part("stop").addEventListener("click", () => this.stop());
    this.part("newer").addEventListener("click", () => { this.follow = true; this.toBottom(); });
    this.follow = true;
    this.frame = 0;
    this.restUntil = 0;
    this.ticker = setInterval(() => this.words(), 1000);
    document.addEventListener("click", copyAnswer);
    this.scrolled = () => this.readerMoved();
    document.addEventListener("scroll", this.scrolled, { capture: true, passive: true });
    this.watch = new MutationObserver(() => { this.handOverWhenDrawn(); this.nameMenu(); this.closeForeignDialog(); });
    this.watch.observe(document.body, { childList: true, subtree: true, characterData: true });
    this.coverRule = document.head.appendChild(document.createElement("style"));
    this.draft = new Draft();
    this.draft.isAway = () => Boolean(this.stream?.lost);
    this.links = new Links((id) => { this.draft.leaveFor(id); this.trigger("opened", id || NEW); });
    this.leaving = () => this.keepPlace();
    window.addEventListener("pagehide", this.leaving);
    this.lastTop = 0;
    this.movingUntil = 0;
    this.fromEnd = 0;
    this.widening = (event) => event.target.closest?.(".st-key-earlier button") && this.keepReadingPlace();
    this.moving = (event) => this.readerMoves(event);
    document.addEventListener("click", this.widening, { capture: true });
    for (const kind of MOVES) document.addEventListener(kind, this.moving, { capture: true, passive: true });
    this.growth = new ResizeObserver(() => this.grown());
    this.growth.observe(this.column());
  }

  /* What scrolls holds this; it grows with the live text and with what Streamlit draws alike. */
  column() {
    let node = this.part("block");
    while (node.parentElement && node.parentElement !== this.scroller()) node = node.parentElement;
    return node;
  }

  grown() {
    if (this.follow) this.toBottom();
    else if (this.fromEnd) this.scroller().scrollTop = this.scroller().scrollHeight - this.fromEnd;
  }

  /* "Earlier" puts messages above what is being read: that stays where it is. */
  keepReadingPlace() {
    const main = this.scroller();
    this.follow = false;
    this.fromEnd = main.scrollHeight - main.scrollTop;
    setTimeout(() => { this.fromEnd = 0; }, WIDER_WITHIN_MS);
  }

  readerMoves({ type, target }) {
    if (type === "mousedown" && target !== this.scroller()) return; // only its scrollbar moves the view
    if (type === "keydown" && target.matches?.("input, textarea")) return;
    this.fromEnd = 0;
    this.movingUntil = performance.now() + (type === "mousedown" ? HELD_MS : MOVED_WITHIN_MS);
  }

  /* Streamlit's name of a button with an icon alone is the icon's. */
  nameMenu() {
    const menu = document.querySelector(".st-key-conversation-menu button");
    if (this.data && menu && menu.getAttribute("aria-label") !== this.say("menu")) menu.setAttribute("aria-label", this.say("menu"));
  }

  /* "Connection error" lies over the whole page and holds the keyboard; the thin bar says it already. */
  closeForeignDialog() {
    if (this.stream?.lost) document.querySelector(`${FOREIGN_DIALOG} [aria-label="Close"]`)?.click();
  }

  update({ data: [data], setTriggerValue }) {
    this.data = data;
    this.trigger = setTriggerValue;
    this.plural = new Intl.PluralRules(data.locale, { type: "ordinal" });
    if (data.locale_choice) document.cookie = `naru_locale=${data.locale_choice}; path=/; max-age=31536000; samesite=lax`;
    document.documentElement.lang = data.locale;
    this.takeColours();
    if (this.conversationId !== data.conversation_id) this.open(data.conversation_id);
    this.draft.keepFor(data.conversation_id);
    this.draft.sent.update(data, setTriggerValue);
    const requestId = this.stream?.requestId;
    if (requestId && data.settled.includes(requestId) && this.settling !== requestId) {
      this.settling = requestId;
      this.handOverBy = performance.now() + DRAWN_WITHIN_MS;
      setTimeout(() => this.handOverWhenDrawn(), DRAWN_WITHIN_MS + 50);
    }
    this.part("stop-word").textContent = this.say("stop");
    this.part("newer").textContent = this.say("newer");
    this.show();
    this.handOverWhenDrawn();
    this.noticeMissedEnd();
  }

  /* Streamlit gives the theme's colours to components only; the page's own style needs two of them. */
  takeColours() {
    const theme = getComputedStyle(this.part("bar").parentElement);
    const root = document.documentElement.style;
    root.setProperty("--naru-accent", theme.getPropertyValue("--st-primary-color"));
    root.setProperty("--naru-ground", theme.getPropertyValue("--st-background-color"));
  }

  open(conversationId) {
    this.stream?.close();
    this.conversationId = conversationId;
    this.follow = true;
    this.reported = null;
    this.speak("");
    const early = window.naruEarly; // has listened since before Streamlit began (early.js)
    this.stream = early?.take(conversationId, this.listener()) ?? (conversationId ? new AnswerStream(conversationId, this.listener()) : null);
    if (this.stream && early) this.takeOver(early);
    focusComposer();
  }

  takeOver(early) {
    this.uncover = early;
    this.changed();
    if (this.stream.ended) this.report("ended", this.stream.requestId, 0);
  }

  listener() {
    return {
      text: ({ reset, text }) => (reset ? this.answer.replace(text) : this.answer.append(text), this.paintSoon()),
      changed: () => this.changed(),
      ended: (requestId) => this.report("ended", requestId, 0),
      unheard: () => this.data.active && this.trigger("ended", this.data.active),
    };
  }

  changed() {
    const { requestId, ended } = this.stream ?? {};
    if (requestId && !ended && requestId !== this.reported) {
      this.reported = requestId;
      setTimeout(() => this.reportStarted(requestId), SEEN_WITHIN_MS);
    }
    if (requestId !== this.stoppingId) this.stoppingId = null;
    this.show();
    this.noticeMissedEnd();
  }

  /* It ended after the page was drawn and before the stream's first word: nobody else will tell the page. */
  noticeMissedEnd() {
    const requestId = this.data.active;
    const isMissed = () => requestId && this.stream?.isIdle && this.data.active === requestId && this.stream.requestId !== requestId;
    if (isMissed()) setTimeout(() => isMissed() && this.trigger("ended", requestId), SEEN_WITHIN_MS);
  }

  /* Asked elsewhere, in another tab: the page does not show the question yet. */
  reportStarted(requestId) {
    if (this.stream?.requestId !== requestId || this.stream.ended) return;
    if (requestId !== this.data.active && !this.data.settled.includes(requestId)) this.trigger("started", requestId);
  }

  report(kind, requestId, tries) {
    if (this.isSettled(requestId) || this.stream?.requestId !== requestId) return;
    this.trigger(kind, requestId);
    if (tries < ASK_AGAIN_MS.length) setTimeout(() => this.report(kind, requestId, tries + 1), ASK_AGAIN_MS[tries]);
  }

  isSettled(requestId) {
    return requestId === this.handedOver || this.data.settled.includes(requestId);
  }

  /* Until Streamlit has drawn the whole answer it is not shown: then the two change places within one frame. */
  cover(requestId) {
    const rule = requestId ? `:has(> .st-key-answer-${CSS.escape(requestId)}){position:absolute!important;opacity:0!important;width:${this.part("answer").offsetWidth}px}` : "";
    if (this.coverRule.textContent !== rule) this.coverRule.textContent = rule;
  }

  handOverWhenDrawn() {
    const requestId = this.stream?.requestId;
    if (!requestId || this.part("block").hidden || !this.data.settled.includes(requestId)) return;
    const drawn = document.querySelector(`.st-key-answer-${CSS.escape(requestId)}`);
    const text = drawn?.querySelector("[data-testid='stMarkdownContainer']");
    const isWhole = drawn && (text?.offsetHeight ?? 0) >= this.part("answer").offsetHeight * DRAWN_SHARE;
    if (isWhole || performance.now() > this.handOverBy) {
      this.handedOver = requestId;
      this.speak(drawn?.querySelector(".naru-remark")?.textContent ?? "");
      this.show();
    }
  }

  /* Once in a frame; an answer that is heavy to draw leaves three parts of the time to the person. */
  paintSoon() {
    if (this.frame) return;
    const rest = this.restUntil - performance.now();
    if (rest > 0) { this.resting ??= setTimeout(() => { this.resting = null; this.paintSoon(); }, rest); return; }
    this.frame = requestAnimationFrame((began) => {
      this.frame = 0;
      this.answer.paint({ final: Boolean(this.stream?.ended) });
      if (this.follow) this.toBottom();
      else this.part("newer").hidden = !this.stream?.hasText;
      this.uncover?.clear();
      this.uncover = null;
      const taken = performance.now() - began;
      if (taken > HEAVY_MS) this.restUntil = performance.now() + 3 * taken;
    });
  }

  /* For early.js, when this page is loaded again in the middle of an answer. */
  keepPlace() {
    const [block, stream] = [this.part("block"), this.stream];
    const bottom = document.querySelector("[data-testid='stBottom']");
    if (block.hidden || !this.follow || !stream?.hasText || stream.ended || stream.dimmed || !bottom) { sessionStorage.removeItem(PLACE); return; }
    const [text, main, style] = [this.part("answer").getBoundingClientRect(), this.scroller().getBoundingClientRect(), getComputedStyle(this.part("answer"))];
    sessionStorage.setItem(PLACE, JSON.stringify({
      conversationId: this.conversationId, width: innerWidth, height: innerHeight, left: main.left, composerTop: bottom.getBoundingClientRect().top,
      bottom: text.bottom, textLeft: text.left, textWidth: text.width, ink: style.color, font: style.fontFamily, ground: getComputedStyle(document.documentElement).getPropertyValue("--naru-ground"),
    }));
  }

  show() {
    if (!this.data) return;
    const stream = this.stream;
    const isHere = Boolean(stream?.requestId) && stream.requestId !== this.handedOver;
    const waiting = isHere && (!this.isSettled(stream.requestId) || !this.part("block").hidden);
    const running = waiting && !stream.ended;
    const appeared = waiting && this.part("block").hidden;
    this.cover(waiting ? stream.requestId : "");
    this.part("block").hidden = !waiting;
    this.part("block").dataset.phase = stream?.seen.phase ?? "idle";
    this.part("answer").setAttribute("aria-busy", String(running));
    this.part("answer").classList.toggle("naru-dimmed", Boolean(stream?.dimmed));
    this.part("answer").classList.toggle("naru-growing", running && stream.hasText && !stream.dimmed);
    this.part("status").classList.toggle("naru-over", !running); // keeps its height: the actions take its place
    this.part("stop").disabled = !running || this.stoppingId === stream.requestId;
    this.bar();
    this.words();
    if (!waiting) this.part("newer").hidden = true;
    if (stream?.ended) this.paintSoon();
    if (appeared) { this.follow = true; this.toBottom(); }
  }

  bar() {
    const text = this.stream?.lost ? this.say("reconnecting") : this.stream?.seen.slow && !this.stream.ended ? this.say("slow") : "";
    const bar = this.part("bar");
    if (bar.textContent !== text) bar.textContent = text;
    bar.hidden = !text;
    bar.style.left = `${this.scroller().getBoundingClientRect().left}px`; // beside the sidebar, not over the name
  }

  say(key, values = {}) {
    return (this.data.labels[key] ?? key).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
  }

  duration(seconds) {
    if (seconds < 90) return this.say("seconds", { n: Math.max(1, Math.round(seconds)) });
    return this.say("minutes", { n: Math.round(seconds / 60) });
  }

  place(position) {
    const form = this.plural.select(position);
    return this.say(`place_${form}` in this.data.labels ? `place_${form}` : "place_other", { n: position });
  }

  /* The one line that says what the answer is waiting for; also called every second for its clock. */
  words() {
    if (!this.data || !this.stream?.requestId) return;
    const line = this.stoppingId === this.stream.requestId ? this.say("stopping") : this.phaseWords();
    const words = this.part("words");
    if (words.textContent !== line) words.textContent = line;
    const spoken = `${this.stream.requestId}${this.stream.seen.phase}${this.stream.seen.attempt ?? ""}${this.stream.seen.position ?? ""}`;
    if (spoken !== this.spoken && !this.part("block").hidden) {
      this.speak(words.textContent, spoken);
    }
    this.part("pulse").hidden = this.stream.hasText && !this.stream.dimmed;
  }

  /* To screen readers; once for each `occasion`. */
  speak(text, occasion = "") {
    this.spoken = occasion;
    if (this.part("spoken").textContent !== text) this.part("spoken").textContent = text;
  }

  phaseWords() {
    const { seen, seenAt, dimmed } = this.stream;
    const passed = (performance.now() - seenAt) / 1000;
    const since = Math.floor((seen.since_seconds ?? 0) + passed);
    const clock = since >= SECONDS_SHOWN_AFTER ? ` ${this.duration(since)}` : "";
    switch (seen.phase) {
      case "queued": {
        const place = this.say("queued", { place: this.place(seen.position ?? 1) });
        // Not counted down here: it is an estimate, and one that had run out would say nothing.
        return seen.expected_seconds == null ? place : `${place} · ${this.say("about", { duration: this.duration(seen.expected_seconds) })}`;
      }
      case "next": return dimmed ? this.say("again_soon") : this.say("next");
      case "no_worker": return this.say("no_worker");
      case "waiting": {
        const left = Math.ceil((seen.retry_in_seconds ?? 0) - passed);
        return left > 0 ? this.say("waiting", { duration: this.duration(left) }) : this.say("next");
      }
      case "thinking":
        if ((seen.attempt ?? 1) > 1) return this.again(seen) + clock;
        return this.say("thinking") + clock;
      case "streaming": return dimmed ? this.again(seen) : this.answer.isCut ? this.say("beginning") : "";
      default: return "";
    }
  }

  again(seen) {
    return this.say("again", { attempt: this.place(seen.attempt), n: seen.attempt });
  }

  async stop() {
    const requestId = this.stream?.requestId;
    if (!requestId || this.stoppingId === requestId) return;
    this.stoppingId = requestId;
    this.show();
    document.querySelector(COMPOSER)?.focus();
    try {
      const address = new URL(`api/requests/${encodeURIComponent(requestId)}/stop`, document.baseURI);
      const answer = await fetch(address, { method: "POST", headers: { "X-Naru": "1" }, credentials: "same-origin", signal: AbortSignal.timeout(STOP_WITHIN_MS) });
      if (!answer.ok) throw new Error(String(answer.status));
    } catch {
      this.stoppingId = null; // not asked: the button is there again
      this.show();
    }
  }

  scroller() {
    if (this.main?.isConnected) return this.main;
    let node = this.part("block").parentElement;
    while (node && !/(auto|scroll)/.test(getComputedStyle(node).overflowY)) node = node.parentElement;
    this.main = node ?? document.scrollingElement;
    return this.main;
  }

  readerMoved() {
    const main = this.scroller();
    const isAtEnd = main.scrollHeight - main.scrollTop - main.clientHeight < BOTTOM_SLACK_PX;
    const isGoingUp = main.scrollTop < this.lastTop && performance.now() < this.movingUntil;
    if (isAtEnd || isGoingUp) this.follow = isAtEnd; // only going up is leaving the end
    this.lastTop = main.scrollTop;
    if (this.follow) this.part("newer").hidden = true;
  }

  toBottom() {
    const main = this.scroller();
    main.scrollTop = main.scrollHeight;
    this.part("newer").hidden = true;
  }

  close() {
    this.stream?.close();
    this.watch.disconnect();
    this.growth.disconnect();
    this.coverRule.remove();
    this.draft.close();
    this.links.close();
    window.removeEventListener("pagehide", this.leaving);
    clearInterval(this.ticker);
    clearTimeout(this.resting);
    cancelAnimationFrame(this.frame);
    document.removeEventListener("click", copyAnswer);
    document.removeEventListener("click", this.widening, { capture: true });
    for (const kind of MOVES) document.removeEventListener(kind, this.moving, { capture: true });
    document.removeEventListener("scroll", this.scrolled, { capture: true });
  }
}

const mounted = new WeakMap();

export default function mount(component) {
  const { parentElement } = component;
  let live = mounted.get(parentElement);
  if (!live) mounted.set(parentElement, (live = new LiveAnswer(parentElement)));
  live.update(component);
  return () => {
    live.close();
    mounted.delete(parentElement);
  };
}
