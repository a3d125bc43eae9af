/*
The folds with a model's reasoning, above its answers. The text is fetched when a fold is first opened, because it is often
longer than the answer. web/views/chat/messages.py draws the folds of stored answers, live.html the one of the running answer.
*/
const LOADED_WITHIN_MS = 15000;

export function clock(seconds) {
  const whole = Math.max(1, Math.floor(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

export class Thoughts {
  constructor(say) {
    this.say = say;
    this.opened = (event) => {
      const fold = event.target;
      if (fold.matches?.(".naru-thought") && fold.open) this.load(fold);
    };
    document.addEventListener("toggle", this.opened, true); // this event does not bubble
  }

  close() {
    document.removeEventListener("toggle", this.opened, true);
  }

  async load(fold) {
    const text = fold.querySelector(".naru-thought-text");
    const id = fold.dataset.naruRequest;
    if (!text) return;
    if (!id) { text.textContent = this.say("thought_later"); return; } // the answer is still running
    if (fold.dataset.naruLoaded === id) return;
    text.textContent = this.say("thought_loading");
    try {
      const address = new URL(`api/requests/${encodeURIComponent(id)}/reasoning`, document.baseURI);
      const answer = await fetch(address, { credentials: "same-origin", signal: AbortSignal.timeout(LOADED_WITHIN_MS) });
      if (!answer.ok) throw new Error(String(answer.status));
      text.textContent = (await answer.json()).text;
      fold.dataset.naruLoaded = id;
    } catch {
      text.textContent = this.say("thought_failed");
    }
  }
}
