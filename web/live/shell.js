/*
Everything around the conversation: Streamlit's own texts in the page's language, the theme switch, and the sidebar's list, which
grows on scrolling and follows changes in other tabs. Runs in the page's head (web/api/front.py), before Streamlit and without
the live answer, because pages that show a refusal need it too. web/views/chat/listing.py draws the lines of the list.
*/
import { Banner } from "./banner.js";

const NEAR_PX = 600; // load the next page when less than this is left below the view
const MENU_FRAMES = 60; // frames that Streamlit may take to open its menu
const AGAIN_MS = 5000; // after a page that failed to load, retry on scrolling
const LIST = ".st-key-conversations";
const MORE = ".st-key-more-conversations button";
const AGAIN = ".st-key-list-again button";
const SIDEBAR = "[data-testid='stSidebar']";
const ANSWERS = ":is(.naru-answer, [class*='st-key-answer-'])";
const SCROLLING = `${ANSWERS} :is(pre, table)`;
const SETTLED_MS = 300; // between two checks of scrolling elements and headings
const LIVE = ".naru-live";
const SPOKEN = ["aria-label", "title", "placeholder", "aria-roledescription"];
/* Streamlit's own texts are in these elements; other text may be a person's or a model's. */
const FOREIGN_TEXT = "[data-testid='stSkipToContent'], [data-testid='InputInstructions'] > span, [data-testid='stMarkdownContainer'] section.footnotes > h2";
const PERSONS = ".naru-link, .naru-question, .naru-answer";

/* `texts` has the same keys for each language; the English values are Streamlit's own words. */
export class ForeignWords {
  constructor(texts) {
    this.texts = texts;
    this.rows = Object.keys(texts.en).map((key) => ({
      key, forms: Object.values(texts).map((each) => new RegExp(`^${RegExp.escape?.(each[key]) ?? each[key]}$`.replace(/(\\?\{)n(\\?\})/, "(\\d[\\d-]*)"))),
    }));
  }

  /* Return Streamlit's words in this language, or undefined for any other text. */
  say(text, locale) {
    const trimmed = text?.trim();
    for (const { key, forms } of trimmed ? this.rows : []) {
      const found = forms.map((form) => form.exec(trimmed)).find(Boolean);
      if (found) return (this.texts[locale] ?? this.texts.en)[key].replace("{n}", found[1] ?? "");
    }
    return undefined;
  }
}

class Shell {
  constructor() {
    this.words = new ForeignWords(FOREIGN_WORDS);
    document.documentElement.lang = this.locale(document.cookie.match(/(?:^|; )naru_locale=(\w+)/)?.[1] ?? navigator.language);
    this.lineCount = 0;
    this.askedAt = -AGAIN_MS;
    this.list = undefined; // until it is first drawn
    this.tabs = new BroadcastChannel("naru:list");
    this.tabs.onmessage = ({ data }) => this.heard(data);
    new MutationObserver((records) => this.changed(records)).observe(document, {
      childList: true, subtree: true, characterData: true, attributes: true, attributeFilter: [...SPOKEN, "lang"],
    });
    new MutationObserver(() => this.comeBack()).observe(document, { subtree: true, attributeFilter: ["data-test-connection-state"] });
    document.addEventListener("scroll", (event) => event.target.closest?.(LIST) && this.readOn(), { capture: true, passive: true });
    addEventListener("resize", () => this.changed([]));
    document.addEventListener("click", (event) => this.choose(event.target.closest?.("[data-naru-theme]")));
  }

  locale(wish) {
    const language = wish.slice(0, 2).toLowerCase();
    return language in FOREIGN_WORDS ? language : "en";
  }

  changed(all) {
    this.settling ??= setTimeout(() => { this.settling = null; this.placeFocus(); this.levelHeadings(); }, SETTLED_MS);
    const records = all.filter(({ target }) => !(target.closest ? target : target.parentElement)?.closest(LIVE)); // it changes on every frame
    if (!records.length) return;
    const drawn = document.querySelector("[data-naru-locale]")?.dataset.naruLocale;
    if (drawn && document.documentElement.lang !== drawn) document.documentElement.lang = drawn;
    const isOtherLanguage = records.some((record) => record.attributeName === "lang" && record.target === document.documentElement);
    const places = isOtherLanguage ? [document.body] : records.map((record) => (record.target.nodeType === Node.TEXT_NODE ? record.target.parentElement : record.target));
    for (const place of new Set(places)) if (place?.isConnected && place.querySelectorAll) this.translate(place);
    if (!records.some(({ target }) => (target.closest ? target : target.parentElement)?.closest?.(SIDEBAR) || target.querySelector?.(SIDEBAR))) return;
    this.showTheme();
    this.followList();
  }

  /* Load the page for administrators anew when its connection returns: it may have ended with the session. (live.js does this for the chat.) */
  comeBack() {
    const isConnected = document.querySelector("[data-testid='stApp']")?.dataset.testConnectionState === "CONNECTED";
    if (!document.querySelector(".st-key-admin")) return;
    if (isConnected && this.wasAway) location.reload();
    this.wasAway = !isConnected;
  }

  translate(place) {
    const locale = document.documentElement.lang;
    const all = (selector) => [...(place.matches?.(selector) ? [place] : []), ...place.querySelectorAll(selector)];
    for (const element of all(SPOKEN.map((name) => `[${name}]`).join())) {
      if (element.closest(PERSONS) || element.matches("[data-testid='stMarkdownContainer'] a[title]")) continue;
      for (const name of SPOKEN) {
        const ours = this.words.say(element.getAttribute(name), locale);
        if (ours && ours !== element.getAttribute(name)) element.setAttribute(name, ours);
      }
    }
    for (const element of [...all(FOREIGN_TEXT), ...(place.closest?.(FOREIGN_TEXT) ? [place.closest(FOREIGN_TEXT)] : [])]) {
      const ours = this.words.say(element.textContent, locale);
      if (ours && ours !== element.textContent && element.firstChild) element.firstChild.data = ours; // keep React's text node
    }
    for (const icon of all("[data-testid='stIconMaterial']")) {
      if (!icon.ariaHidden) icon.ariaHidden = "true";
      const spoken = icon.parentElement?.previousElementSibling; // Streamlit's label of an icon-only button
      if (spoken?.textContent === `${icon.textContent} icon`) spoken.ariaHidden = "true";
    }
    for (const list of all("[role='menu'], [role='listbox']")) this.makeLandmark(list.closest("body > *"), list.ariaLabel);
  }

  /* Give Streamlit's popovers a landmark, because screen readers that move between landmarks would miss them. */
  makeLandmark(place, name) {
    if (!place || place.id === "root" || place.role) return;
    place.role = "region";
    place.ariaLabel = name || FOREIGN_WORDS[document.documentElement.lang].menu;
  }

  /* Renumber a model's headings below the answer's own (h2) without gaps, for screen readers. */
  levelHeadings() {
    for (const answer of document.querySelectorAll(ANSWERS)) {
      const open = [];
      for (const heading of answer.querySelectorAll("h1, h2:not(.naru-spoken), h3, h4, h5, h6")) {
        const depth = Number(heading.tagName[1]);
        while (open.length && open.at(-1) >= depth) open.pop();
        open.push(depth);
        const level = String(Math.min(2 + open.length, 6));
        if (heading.ariaLevel !== level) heading.ariaLevel = level;
      }
    }
  }

  /* Let the Tab key stop only at code and tables that scroll, and not at the whole page. */
  placeFocus() {
    const main = document.querySelector("[data-testid='stMain']");
    if (main && main.tabIndex !== -1) main.tabIndex = -1; // still the target of "skip to main content"
    for (const box of document.querySelectorAll(SCROLLING)) {
      const isWider = box.scrollWidth > box.clientWidth + 1;
      if (isWider && box.tabIndex !== 0) box.tabIndex = 0;
      else if (!isWider && box.hasAttribute("tabindex")) box.removeAttribute("tabindex");
    }
  }

  /* ---- the theme: stored by Streamlit under this name. Only its menu, which is hidden, changes it without a reload ---- */

  theme() {
    try {
      return JSON.parse(localStorage.getItem(`stActiveTheme-${location.pathname}-v2`)) ?? "System";
    } catch {
      return "System";
    }
  }

  showTheme() {
    for (const button of document.querySelectorAll("[data-naru-theme]")) {
      const pressed = String(button.dataset.naruTheme === this.theme());
      if (button.ariaPressed !== pressed) button.ariaPressed = pressed;
    }
  }

  async choose(button) {
    if (!button) return;
    const menu = document.querySelector("[data-testid='stMainMenuButton']");
    const item = () => document.querySelector(`[data-testid='stMainMenuItem-theme-${button.dataset.naruTheme}']`);
    const opened = () => menu?.ariaExpanded === "true";
    if (!opened()) menu?.click();
    for (let tries = 0; tries < MENU_FRAMES && !item(); tries += 1) await new Promise(requestAnimationFrame);
    item()?.click();
    document.cookie = `naru_theme=${button.dataset.naruTheme}; path=/; max-age=31536000; samesite=lax`; // for skeleton.js
    if (opened()) menu.click();
    button.focus();
    this.showTheme();
  }

  /* ---- the list ---- */

  /* Called when the page has drawn the list: tell other tabs if it has changed. */
  followList() {
    const lines = [...document.querySelectorAll(`${LIST} a.naru-link`)];
    if (lines.length !== this.lineCount) { this.lineCount = lines.length; this.askedAt = -AGAIN_MS; }
    this.readOn();
    const list = lines.slice(0, 50).map((line) => line.search + line.textContent).join("\n");
    if (list === this.list || !document.querySelector(AGAIN)) return;
    if (this.list !== undefined && list !== this.told) this.tabs.postMessage(list);
    this.list = list;
    this.told = null;
  }

  heard(list) {
    if (list === this.list) return;
    this.told = list; // the coming redraw is this tab's view of the same change, so do not announce it
    document.querySelector(AGAIN)?.click();
  }

  readOn() {
    const [place, more] = [document.querySelector(LIST), document.querySelector(MORE)];
    if (!place || !more || more.getBoundingClientRect().top > place.getBoundingClientRect().bottom + NEAR_PX) return;
    if (performance.now() - this.askedAt < AGAIN_MS) return;
    this.askedAt = performance.now();
    more.click();
  }
}

new Shell();
new Banner();
