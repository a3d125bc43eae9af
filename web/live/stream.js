/*
The live answer's connection: receives one conversation's server-sent events, and tracks its running answer.

It keeps (request, attempt, next) from the events and never counts characters itself. So repeated events have no effect, and a
gap cannot be shown: any mismatch requests a snapshot. markdown.js renders the text, live.js has the texts and buttons.
*/
const LOST_AFTER_MS = 1000; // shorter interruptions are not shown
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15000;
const LOOK_AFTER_MS = [4000, 10000, 30000]; // without a stream, the page checks for the end itself
const WAITING = new Set(["queued", "next", "no_worker", "unserved", "held", "waiting", "away"]);
const HANDLERS = { state: "onState", delta: "onDelta", snapshot: "onSnapshot", end: "onEnd" };

export class AnswerStream {
  /* `listener` has changed(), text({reset, text}), ended(requestId) and unheard(). */
  constructor(conversationId, listener) {
    this.conversationId = conversationId;
    this.listener = listener;
    this.lost = false;
    this.lastId = "";
    this.retryMs = FIRST_RETRY_MS;
    this.begin(null);
    this.visibility = () => (document.hidden ? this.disconnect() : this.connect());
    this.online = () => { this.disconnect(); this.connect(); };
    document.addEventListener("visibilitychange", this.visibility);
    window.addEventListener("online", this.online);
    if (!document.hidden) this.connect();
  }

  begin(requestId) {
    this.requestId = requestId;
    this.attempt = 0;
    this.next = 0;
    this.hasText = false;
    this.dimmed = false;
    this.seen = { phase: "idle" }; // the last `state` event
    this.seenAt = performance.now();
    this.textAt = performance.now(); // when the last text arrived
    this.ended = null;
    this.isIdle = false; // no request is running, according to the last event
    this.listener.text({ reset: true, text: "" });
  }

  connect() {
    if (this.source || this.closed) return;
    clearTimeout(this.retryTimer);
    const after = this.lastId ? `?after=${encodeURIComponent(this.lastId)}` : "";
    const address = new URL(`api/conversations/${encodeURIComponent(this.conversationId)}/events${after}`, document.baseURI);
    const source = new EventSource(address);
    this.source = source;
    source.onopen = () => this.found();
    source.onerror = () => this.failed(source);
    for (const [kind, handler] of Object.entries(HANDLERS)) {
      source.addEventListener(kind, (event) => {
        if (this.source !== source) return;
        this.found();
        if (event.lastEventId) this.lastId = event.lastEventId;
        this[handler](JSON.parse(event.data));
      });
    }
  }

  disconnect() {
    this.source?.close();
    this.source = null;
    clearTimeout(this.retryTimer);
    clearTimeout(this.lostTimer);
    clearTimeout(this.lookTimer);
    this.lostTimer = null;
  }

  close() {
    this.closed = true;
    this.disconnect();
    document.removeEventListener("visibilitychange", this.visibility);
    window.removeEventListener("online", this.online);
  }

  found() {
    this.retryMs = FIRST_RETRY_MS;
    clearTimeout(this.lostTimer);
    clearTimeout(this.lookTimer);
    this.lostTimer = null;
    if (this.lost) { this.lost = false; this.listener.changed(); }
  }

  failed(source) {
    if (this.source !== source) return;
    this.lostTimer ??= setTimeout(() => this.lose(), LOST_AFTER_MS);
    if (source.readyState !== EventSource.CLOSED) return; // the browser itself reconnects
    source.close();
    this.source = null;
    clearTimeout(this.retryTimer);
    this.retryTimer = setTimeout(() => this.connect(), this.retryMs * (0.75 + Math.random() / 2));
    this.retryMs = Math.min(this.retryMs * 2, LONGEST_RETRY_MS);
  }

  /* The stream broke off, or was refused (429) because too many are open; EventSource cannot tell them apart. */
  lose() {
    this.lost = true;
    this.listener.changed();
    this.lookLater(0);
  }

  lookLater(tries) {
    this.lookTimer = setTimeout(() => {
      this.listener.unheard?.();
      this.lookLater(Math.min(tries + 1, LOOK_AFTER_MS.length - 1));
    }, LOOK_AFTER_MS[tries]);
  }

  /* Reconnect without an id, which makes the server send a snapshot. */
  askForSnapshot() {
    this.lastId = "";
    this.disconnect();
    this.connect();
  }

  onState(data) {
    const unfinished = this.requestId && !this.ended;
    this.isIdle = data.phase === "idle";
    if (this.isIdle) {
      if (unfinished && (!data.request_id || data.request_id === this.requestId)) this.onEnd({ request_id: this.requestId, status: "" });
      this.listener.changed();
      return;
    }
    if (data.request_id !== this.requestId) this.begin(data.request_id);
    if (this.ended) return;
    this.seen = data;
    this.seenAt = performance.now();
    this.dimmed = this.hasText && (WAITING.has(data.phase) || (data.attempt ?? 0) > this.attempt);
    this.listener.changed();
  }

  onDelta(data) {
    if (!this.mayTake(data)) return;
    if (data.attempt === this.attempt) {
      if (data.next <= this.next) return;
      if (data.at !== this.next) { this.askForSnapshot(); return; }
      this.take(data, data.at === 0);
    } else if (data.at === 0) {
      this.take(data, true);
    } else {
      this.askForSnapshot();
    }
  }

  onSnapshot(data) {
    if (!this.mayTake(data)) return;
    if (data.attempt === this.attempt && data.next < this.next) return;
    if (data.text) this.take(data, true);
    else { this.dimmed = this.hasText; this.attempt = data.attempt; this.next = 0; this.listener.changed(); }
  }

  mayTake(data) {
    if (data.request_id !== this.requestId) this.begin(data.request_id);
    return !this.ended && data.attempt >= this.attempt;
  }

  take(data, reset) {
    this.attempt = data.attempt;
    this.next = data.next;
    this.hasText = true;
    this.textAt = performance.now();
    // Text of a lost attempt may arrive after the news that another attempt is pending.
    this.dimmed = WAITING.has(this.seen.phase) && data.attempt <= (this.seen.attempt ?? 0);
    if (!this.dimmed) this.seen = { ...this.seen, phase: "streaming", request_id: this.requestId };
    this.listener.text({ reset, text: data.text });
    this.listener.changed();
  }

  onEnd(data) {
    // A short answer may end before any other event, so its end is the only one.
    if (data.request_id !== this.requestId && (!this.requestId || this.ended)) this.begin(data.request_id);
    if (data.request_id !== this.requestId || this.ended) return;
    this.ended = data;
    this.listener.changed();
    this.listener.ended(data.request_id);
  }
}
