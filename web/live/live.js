/*
The live answer on the page: the running text, the pending question, Stop and the thin bars.

Streamlit calls the default export again at every change of data; one LiveAnswer per mount survives all calls.
stream.js has the protocol, markdown.js the Markdown, wording.js the sentences, reading.js the scrolling, composer.js the keys.
*/
import { Composer } from "./composer.js";
import { Connection } from "./connection.js";
import { copyAnswer } from "./copy.js";
import { Dialog } from "./dialog.js";
import { Draft } from "./draft.js";
import { Focus, STOP, focusComposer } from "./focus.js";
import { Links } from "./links.js";
import { GrowingAnswer } from "./markdown.js";
import { Reading } from "./reading.js";
import { AnswerStream } from "./stream.js";
import { Thoughts, clock } from "./thoughts.js";
import { Wording } from "./wording.js";

const NEW = "new";
const FOREIGN_DIALOG = "body > [data-testid='stDialog']:not(:has([data-testid='stVerticalBlock']))"; // Streamlit's own
const PLACE = "naru:place"; // the answer's position when the page was left, for early.js
const SEEN_WITHIN_MS = 700; // by then the page itself shows its own question
const DRAWN_SHARE = 0.95; // of the live text's height, from which Streamlit has drawn the answer
const DRAWN_WITHIN_MS = 5000; // a slow browser may still be loading the code for formulas; keep the live text until then
const STOP_WITHIN_MS = 15000; // longer than Postgres may take; then the button is enabled again
const HEAVY_MS = 50; // per frame, from which drawing is throttled
const ASK_AGAIN_MS = [4000, 10000, 30000]; // while the page has not taken over an ended answer

class LiveAnswer {
  constructor(parent) {
    this.part = (name) => parent.querySelector(`.naru-${name}`);
    this.answer = new GrowingAnswer(this.part("answer"));
    this.frame = 0;
    this.restUntil = 0;
    this.ticker = setInterval(() => this.words(), 1000);
    document.addEventListener("click", copyAnswer);
    this.coverRule = document.head.appendChild(document.createElement("style"));
    this.reading = new Reading(this.part("block"), this.part("newer"));
    this.connection = new Connection(() => this.show(), (mark) => this.trigger("started", mark));
    this.draft = new Draft(() => this.isAway);
    this.draft.sent.changed = () => this.sentChanged();
    this.composer = new Composer(this);
    this.focus = new Focus();
    this.thoughts = new Thoughts((key) => this.say(key));
    this.links = new Links((id) => this.followLink(id));
    this.dialog = new Dialog(this.part("dialog"), (decision) => this.trigger("decided", decision));
    this.leaving = () => this.keepPlace();
    window.addEventListener("pagehide", this.leaving);
    this.watch = new MutationObserver(() => this.pageChanged());
    this.watch.observe(document.body, {
      childList: true, subtree: true, characterData: true, attributeFilter: ["disabled", "data-test-connection-state"],
    });
  }

  /* Called before the page is painted. */
  pageChanged() {
    this.handOverWhenDrawn();
    this.nameMenu();
    this.closeForeignDialog();
    this.connection.look();
    this.echo();
    this.composer.look();
    this.focus.look();
  }

  get isAway() {
    return Boolean(this.stream?.lost) || this.connection.isAway;
  }

  get maxCharacters() {
    return this.data?.max_characters ?? Infinity;
  }

  get isRunning() {
    const { requestId, ended } = this.stream ?? {};
    return Boolean(requestId) && !ended && !this.isSettled(requestId);
  }

  /* Return the key of a hint if a question cannot be sent now. Without the stream, only the server knows. */
  whyNot() {
    if (this.connection.isBroken) return "away";
    if (this.draft.sent.onItsWay) return "sending";
    return this.isRunning && !this.stream.lost ? "running" : "";
  }

  followLink(id) {
    if (this.connection.isBroken) this.composer.hint("away_link");
    else if (id || this.data.exists || this.data.gone) {
      this.draft.leaveFor(id);
      this.trigger("opened", id || NEW);
    }
  }

  /* Name the icon button, which Streamlit names after its icon. It draws two, for wide and for narrow windows. */
  nameMenu() {
    if (!this.data) return;
    for (const menu of document.querySelectorAll(".st-key-conversation-menu button")) {
      if (menu.ariaLabel !== this.say("menu")) menu.ariaLabel = this.say("menu");
    }
  }

  /* Close Streamlit's "Connection error", which covers the page and traps the keyboard; the thin bar shows the state. */
  closeForeignDialog() {
    if (this.isAway) document.querySelector(`${FOREIGN_DIALOG} [aria-label="Close"]`)?.click();
  }

  update({ data: [data], setTriggerValue }) {
    this.data = data;
    this.trigger = setTriggerValue;
    this.wording = new Wording(data.labels, data.locale);
    this.nameAddress();
    if (data.locale_choice) document.cookie = `naru_locale=${data.locale_choice}; path=/; max-age=31536000; samesite=lax`;
    document.documentElement.lang = data.locale;
    this.takeColours();
    if (this.conversationId !== data.conversation_id) this.open(data.conversation_id);
    this.draft.keepFor(data);
    this.draft.sent.update(data, setTriggerValue);
    this.dialog.update(data.dialog, data.decided);
    this.connection.drawn(data);
    const requestId = this.stream?.requestId;
    if (requestId && data.settled.includes(requestId) && this.settling !== requestId) {
      this.settling = requestId;
      this.handOverBy = performance.now() + DRAWN_WITHIN_MS;
      setTimeout(() => this.handOverWhenDrawn(), DRAWN_WITHIN_MS + 50);
    }
    this.part("stop-word").textContent = this.say("stop");
    this.part("echo-words").textContent = this.say("sending");
    this.part("newer").textContent = this.say("newer");
    this.show();
    this.pageChanged();
    this.noticeMissedEnd();
  }

  /* The address says `new` until the first question is stored. It is changed here because each change by Streamlit adds a step
  to the browser's history. */
  nameAddress() {
    const { conversation_id: id, exists, gone, asked } = this.data;
    const address = new URLSearchParams(location.search);
    const named = address.get("c") ?? address.get("new");
    if (gone || (named !== asked && named !== id)) return; // it cannot be shown, or the person has moved on
    const name = `?${exists ? "c" : "new"}=${id}`;
    if (location.search !== name) history.replaceState(history.state, "", name);
  }

  /* Copy two theme colours to the page's style, because Streamlit passes them to components only. */
  takeColours() {
    const theme = getComputedStyle(this.part("bar").parentElement);
    const root = document.documentElement.style;
    root.setProperty("--naru-accent", theme.getPropertyValue("--st-primary-color"));
    root.setProperty("--naru-ground", theme.getPropertyValue("--st-background-color"));
  }

  open(conversationId) {
    this.stream?.close();
    this.conversationId = conversationId;
    this.reading.follow = true;
    this.reported = null;
    this.speak("");
    const early = window.naruEarly; // has been listening since before Streamlit started (early.js)
    this.stream = early?.take(conversationId, this.listener()) ?? (conversationId ? new AnswerStream(conversationId, this.listener()) : null);
    if (this.stream && early) this.takeOver(early);
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

  /* Report an answer that ended after the page was drawn and before the stream began; no event does. */
  noticeMissedEnd() {
    const requestId = this.data.active;
    const isMissed = () => requestId && this.stream?.isIdle && this.data.active === requestId && this.stream.requestId !== requestId;
    if (isMissed()) setTimeout(() => isMissed() && this.trigger("ended", requestId), SEEN_WITHIN_MS);
  }

  /* Report a question from another tab, which the page does not show yet. */
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

  /* Hide Streamlit's answer until all of it is drawn, then swap the two within one frame. */
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
      const fold = drawn?.querySelector(".naru-thought");
      if (fold && this.part("thought").open) fold.open = true;
      this.speak(drawn?.querySelector(".naru-remark")?.textContent ?? "");
      this.show();
    }
  }

  /* Draw once per frame; a heavy answer uses at most a quarter of the time. */
  paintSoon() {
    if (this.frame) return;
    const rest = this.restUntil - performance.now();
    if (rest > 0) { this.resting ??= setTimeout(() => { this.resting = null; this.paintSoon(); }, rest); return; }
    this.frame = requestAnimationFrame((began) => {
      this.frame = 0;
      this.answer.paint({ final: Boolean(this.stream?.ended) });
      if (this.reading.follow) this.reading.toBottom();
      else this.part("newer").hidden = !this.isRunning || !this.stream.hasText;
      this.uncover?.clear();
      this.uncover = null;
      const taken = performance.now() - began;
      if (taken > HEAVY_MS) this.restUntil = performance.now() + 3 * taken;
    });
  }

  /* Store the answer's position for early.js, in case the page is reloaded during an answer. */
  keepPlace() {
    const [block, stream] = [this.part("block"), this.stream];
    const bottom = document.querySelector("[data-testid='stBottom']");
    if (block.hidden || !this.reading.follow || !stream?.hasText || stream.ended || stream.dimmed || !bottom) { sessionStorage.removeItem(PLACE); return; }
    const [text, main, style] = [this.part("answer").getBoundingClientRect(), this.reading.scroller().getBoundingClientRect(), getComputedStyle(this.part("answer"))];
    sessionStorage.setItem(PLACE, JSON.stringify({
      conversationId: this.conversationId, width: innerWidth, height: innerHeight, left: main.left, composerTop: bottom.getBoundingClientRect().top,
      bottom: text.bottom, textLeft: text.left, textWidth: text.width, ink: style.color, font: style.fontFamily, ground: getComputedStyle(document.documentElement).getPropertyValue("--naru-ground"), scheme: style.colorScheme,
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
    this.fold(waiting);
    this.part("answer").setAttribute("aria-busy", String(running));
    this.part("answer").classList.toggle("naru-dimmed", Boolean(stream?.dimmed));
    this.part("answer").classList.toggle("naru-growing", running && stream.hasText && !stream.dimmed);
    this.part("status").classList.toggle("naru-over", !running); // keep its height for the actions that follow
    document.documentElement.toggleAttribute("data-naru-running", running); // turns the composer's button into Stop (style.css)
    for (const stop of document.querySelectorAll(STOP)) stop.disabled = !running || this.stoppingId === stream.requestId;
    this.bar();
    this.words();
    if (!running) this.part("newer").hidden = true;
    if (stream?.ended) this.paintSoon();
    if (appeared) this.reading.toEnd();
  }

  /* Show above the text how long the model has thought. */
  fold(isShown) {
    const [fold, seconds] = [this.part("thought"), this.stream?.seen.thought_seconds];
    const words = isShown && this.stream.hasText && seconds != null ? this.say("thought", { duration: clock(seconds) }) : "";
    if (!words && fold.open) fold.open = false;
    fold.hidden = !words;
    if (this.part("thought-words").textContent !== words) this.part("thought-words").textContent = words;
  }

  sentChanged() {
    this.echo();
    if (!this.part("echo").hidden) this.reading.toEnd();
  }

  /* Show the question in its final place until the server draws it. */
  echo() {
    const text = this.draft.sent.onItsWay;
    const [echo, shown] = [this.part("echo"), this.part("echo-text")];
    if (shown.textContent !== text) shown.textContent = text;
    if (echo.hidden === Boolean(text)) echo.hidden = !text;
    document.documentElement.toggleAttribute("data-naru-sending", Boolean(text));
  }

  bar() {
    const text = this.isAway ? this.say("reconnecting") : this.stream?.seen.slow && !this.stream.ended ? this.say("slow") : "";
    const bar = this.part("bar");
    if (bar.textContent !== text) bar.textContent = text;
    bar.hidden = !text;
    bar.style.left = `${this.reading.scroller().getBoundingClientRect().left}px`; // beside the sidebar, not over its heading
  }

  say(key, values) {
    return this.data ? this.wording.say(key, values) : "";
  }

  /* Update the status line; also called every second for its clock. */
  words() {
    if (!this.data || !this.stream?.requestId) return;
    const line = this.stoppingId === this.stream.requestId ? this.say("stopping") : this.wording.phase(this.stream, this.answer);
    const words = this.part("words");
    if (words.textContent !== line) words.textContent = line;
    const spoken = `${this.stream.requestId}${this.stream.seen.phase}${this.stream.seen.attempt ?? ""}${this.stream.seen.position ?? ""}`;
    if (spoken !== this.spoken && !this.part("block").hidden) {
      this.speak(words.textContent, spoken);
    }
    this.part("pulse").hidden = !line && this.stream.hasText;
  }

  /* Announce to screen readers, once for each `occasion`. */
  speak(text, occasion = "") {
    this.spoken = occasion;
    if (this.part("spoken").textContent !== text) this.part("spoken").textContent = text;
  }

  /* Ask the server to stop the answer. Return whether one is running. */
  stop() {
    if (!this.isRunning || this.part("block").hidden) return false;
    if (this.stoppingId !== this.stream.requestId) this.askToStop(this.stream.requestId);
    return true;
  }

  async askToStop(requestId) {
    this.stoppingId = requestId;
    this.show();
    focusComposer();
    try {
      const address = new URL(`api/requests/${encodeURIComponent(requestId)}/stop`, document.baseURI);
      const answer = await fetch(address, { method: "POST", headers: { "X-Naru": "1" }, credentials: "same-origin", signal: AbortSignal.timeout(STOP_WITHIN_MS) });
      if (!answer.ok) throw new Error(String(answer.status));
    } catch {
      this.stoppingId = null; // the request failed, so enable the button again
      this.composer.hint("stop_failed");
      this.show();
    }
  }

  close() {
    this.watch.disconnect();
    for (const each of [this.reading, this.connection, this.draft, this.composer, this.focus, this.links, this.thoughts]) each.close();
    this.stream?.close();
    this.coverRule.remove();
    window.removeEventListener("pagehide", this.leaving);
    clearInterval(this.ticker);
    clearTimeout(this.resting);
    cancelAnimationFrame(this.frame);
    document.removeEventListener("click", copyAnswer);
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
