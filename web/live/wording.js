/*
The live answer's sentences, made from the server's labels (shared/words). live.js places them.
*/
import { clock } from "./thoughts.js";

const SECONDS_SHOWN_AFTER = 5;
const QUIET_AFTER_SECONDS = 2.5; // without new text during an answer

export class Wording {
  constructor(labels, locale) {
    this.labels = labels;
    this.plural = new Intl.PluralRules(locale, { type: "ordinal" });
    this.number = new Intl.NumberFormat(locale);
  }

  say(key, values = {}) {
    return (this.labels[key] ?? key).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
  }

  duration(seconds) {
    if (seconds < 90) return this.say("seconds", { n: Math.max(1, Math.round(seconds)) });
    return this.say("minutes", { n: Math.round(seconds / 60) });
  }

  place(position) {
    const form = this.plural.select(position);
    return this.say(`place_${form}` in this.labels ? `place_${form}` : "place_other", { n: position });
  }

  /* Return the status line, which says what the answer is waiting for; empty while text arrives. */
  phase(stream, options) {
    const { model, asked_model: asked } = stream.seen;
    const line = this.wait(stream, options);
    return asked && line ? `${this.say("instead", { model, asked })} · ${line}` : line;
  }

  wait(stream, { isCut }) {
    const { seen, seenAt, dimmed } = stream;
    const passed = (performance.now() - seenAt) / 1000;
    const since = Math.floor((seen.since_seconds ?? 0) + passed);
    const waited = since >= SECONDS_SHOWN_AFTER ? ` ${this.duration(since)}` : "";
    switch (seen.phase) {
      case "queued": {
        if (seen.beyond) return this.say("queued_beyond", { n: this.number.format(seen.position) });
        const at = this.place(seen.position ?? 1);
        const place = seen.lane ? this.say("queued_for", { place: at, lane: seen.lane }) : this.say("queued", { place: at });
        // Do not count down: this is an estimate, which would be meaningless once it reached zero.
        return seen.expected_seconds == null ? place : `${place} · ${this.say("about", { duration: this.duration(seen.expected_seconds) })}`;
      }
      case "next": return dimmed ? this.say("again_soon") : this.say("next");
      case "no_worker":
      case "unserved":
      case "held": return this.say(seen.phase);
      case "waiting":
      case "away": {
        const left = Math.ceil((seen.retry_in_seconds ?? 0) - passed);
        return left > 0 ? this.say(seen.phase, { duration: this.duration(left) }) : this.say("next");
      }
      case "thinking":
        if (seen.thought_seconds != null) return this.say("thinking_for", { duration: clock(seen.thought_seconds + passed) });
        if ((seen.attempt ?? 1) > 1 && !seen.asked_model) return this.again(seen, dimmed) + waited;
        return this.say("thinking") + waited;
      case "streaming": return dimmed ? this.again(seen, dimmed) : isCut ? this.say("beginning") : this.isQuiet(stream) ? this.say("quiet") : "";
      default: return "";
    }
  }

  isQuiet({ seen, dimmed, textAt }) {
    return seen.phase === "streaming" && !dimmed && performance.now() - textAt > QUIET_AFTER_SECONDS * 1000;
  }

  /* Only interrupted text indicates a lost connection; without any text, the model may just have been busy. */
  again(seen, dimmed) {
    return this.say(dimmed ? "again" : "again_without_text", { attempt: this.place(seen.attempt), n: seen.attempt });
  }
}
