/*
The skeleton: placeholder shapes until Streamlit has drawn the page, and a field to type in. Its text moves to Streamlit's
composer when that appears. document.py inlines this script. It shares its draft with live/draft.js.
*/
{
  const COMPOSER = "[data-testid='stChatInputTextArea']";
  const SEND = "[data-testid='stChatInputSubmitButton']";
  const DRAWN = ".naru-block"; // the live answer, which tracks every question that is sent
  const HALF_DRAWN = "[data-testid='stSkeleton']"; // an element whose file has not loaded: the composer would still move
  const WITHOUT_COMPOSER = ".naru-notice, .st-key-admin, [data-testid='stDialog'], [data-testid='stException']";
  const LATE = [/* late */];
  const PATIENCE_MS = 30000; // then the skeleton gives way to whatever Streamlit has drawn, unless text would be lost
  const SENT_WITHIN_MS = 10000;
  const REST_MS = 1500; // without a keypress: running the late files blocks the page for up to 0.2 s

  // Streamlit's interface for embedding hosts. With it, the WebSocket opens one round trip earlier.
  window.__streamlit = { BACKEND_BASE_URL: new URL("./", location.href).href, HOST_CONFIG: { allowedOrigins: [location.origin], useExternalAuthToken: false } };

  // A browser that blocks storage throws on each access.
  const stored = (look) => { try { return look(); } catch { return null; } };
  const skeleton = document.getElementById("naru-skeleton");
  const box = skeleton.querySelector("textarea");
  const key = `naru:draft:${new URLSearchParams(location.search).get("c") ?? "new"}`;
  let isComposing = false;
  let isSending = false;
  let frame = 0;

  const cookie = (name) => document.cookie.match(new RegExp(`(?:^|; )${name}=([\\w-]+)`))?.[1];
  // web/api/people/signing.py changes this cookie at a sign-out, and when another person signs in: drafts of before leave.
  const mark = cookie("naru_before");
  if (mark && stored(() => sessionStorage.getItem("naru:before")) !== mark) {
    stored(() => { sessionStorage.clear(); sessionStorage.setItem("naru:before", mark); });
  }

  const themed = `stActiveTheme-${location.pathname}-v2`;
  // A sign-out clears the storage. shell.js keeps the theme in a cookie too.
  const kept = cookie("naru_theme");
  if (kept) stored(() => { if (!localStorage.getItem(themed)) localStorage.setItem(themed, JSON.stringify(kept)); });
  const theme = stored(() => JSON.parse(localStorage.getItem(themed)));
  if (theme === "Light" || theme === "Dark") skeleton.style.colorScheme = theme.toLowerCase();
  const sidebar = Number.parseInt(stored(() => localStorage.getItem("sidebarWidth")), 10);
  if (sidebar) skeleton.style.setProperty("--sidebar", `${sidebar}px`);
  // Streamlit keeps the sidebar open across reloads, and in a narrow window it would cover the page.
  if (matchMedia("(max-width: 768px)").matches) {
    stored(() => Object.keys(localStorage).filter((name) => name.startsWith("stSidebarCollapsed-")).forEach((name) => localStorage.removeItem(name)));
  }
  if (new URLSearchParams(location.search).has("page")) box.parentElement.remove(); // a page without a composer
  box.value = stored(() => sessionStorage.getItem(key)) ?? "";
  if (box.isConnected && matchMedia("(hover: hover)").matches) box.focus({ preventScroll: true });

  // Simulate typing: React listens for the event, and tracks the element's own setter.
  const type = (field, text) => {
    Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(field, text);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  };

  const sendWhenDrawn = (until) => {
    const button = document.querySelector(SEND);
    if (document.querySelector(DRAWN) && button && !button.disabled) button.click();
    else if (performance.now() < until) setTimeout(() => sendWhenDrawn(until), 50);
  };

  const loadLate = async () => {
    for (const each of LATE) await import(each);
  };

  const loadLateAtRest = () => {
    if (navigator.connection?.saveData) return; // Streamlit loads each file once something on the page needs it
    let timer = 0;
    const load = () => {
      document.removeEventListener("input", wait);
      (window.requestIdleCallback ?? setTimeout)(() => loadLate().catch(() => {})); // Streamlit retries
    };
    const wait = () => {
      clearTimeout(timer);
      timer = setTimeout(load, REST_MS);
    };
    document.addEventListener("input", wait);
    wait();
  };

  const leave = () => {
    watch.disconnect();
    clearInterval(impatience);
    skeleton.remove();
    loadLateAtRest();
  };

  const handOver = (field) => {
    const isFocused = document.activeElement === box;
    const { selectionStart, selectionEnd } = box;
    if (box.value) type(field, box.value);
    if (key.endsWith(":new")) stored(() => sessionStorage.removeItem(key));
    if (isFocused) {
      field.focus({ preventScroll: true });
      field.setSelectionRange(selectionStart, selectionEnd);
    }
    if (isSending) sendWhenDrawn(performance.now() + SENT_WITHIN_MS);
    leave();
  };

  const look = () => {
    frame = 0;
    const field = document.querySelector(COMPOSER);
    const isDrawn = document.querySelector(DRAWN) && !document.querySelector(HALF_DRAWN);
    if (field && isDrawn && !isComposing) handOver(field);
    else if (!field && document.querySelector(WITHOUT_COMPOSER)) leave();
  };

  const watch = new MutationObserver(() => { frame ||= requestAnimationFrame(look); });
  watch.observe(document.body, { childList: true, subtree: true });
  const impatience = setInterval(() => {
    const field = document.querySelector(COMPOSER);
    if (field && !isComposing) handOver(field);
    else if (!box.value && document.querySelector("[data-testid='stApp']")) leave();
  }, PATIENCE_MS);

  box.addEventListener("compositionstart", () => { isComposing = true; });
  box.addEventListener("compositionend", () => { isComposing = false; setTimeout(look); });
  box.addEventListener("input", () => {
    isSending = false;
    box.classList.remove("sending");
    stored(() => sessionStorage.setItem(key, box.value));
  });
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || !matchMedia("(hover: hover)").matches) return;
    event.preventDefault();
    isSending = Boolean(box.value.trim());
    box.classList.toggle("sending", isSending);
  });
}
