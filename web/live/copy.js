/*
The copy button under an answer, which holds the answer's Markdown. Works over plain HTTP too, where browsers have no
clipboard API. web/views/chat/messages.py draws the button.
*/
const SAID_FOR_MS = 1600;

function copyTheOldWay(text) {
  const box = document.createElement("textarea");
  box.value = text;
  box.style.cssText = "position:fixed;top:0;opacity:0";
  const focused = document.activeElement;
  document.body.append(box);
  box.select();
  const copied = document.execCommand("copy");
  box.remove();
  focused?.focus?.();
  return copied;
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyTheOldWay(text);
  }
}

export async function copyAnswer(event) {
  const button = event.target.closest?.("[data-naru-copy]");
  if (!button || !(await copied(decodeURIComponent(button.dataset.naruCopy)))) return;
  button.classList.add("naru-copied");
  button.setAttribute("aria-label", button.dataset.naruCopied);
  setTimeout(() => {
    button.classList.remove("naru-copied");
    button.setAttribute("aria-label", button.title);
  }, SAID_FOR_MS);
}
